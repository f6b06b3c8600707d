//! The command line that `greenroom` and `greenroomd` share.

use crate::config::{Config, ConfigError, RawConfig, control_address};
use crate::logging;
use clap::Parser;
use std::path::PathBuf;

/// Remote guests in OBS, from your own computer.
///
/// Starts the engine: guests join from a browser by an invite link, and appear in OBS as native sources.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
// clap names a group after each struct of options, and flattened ones must differ.
#[group(id = "common")]
pub struct Options {
    /// Read settings from this TOML file; config.example.toml documents every key.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the dashboard and the API listen: a loopback address and a port (0: the system chooses). Overrides `listen.control`.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Where rooms, invites and keys are kept. Overrides `storage.data_dir`.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Write logs as one JSON object a line.
    #[arg(long)]
    pub json_logs: bool,
}

const AFTER_HELP: &str = "\
Environment:
  RUST_LOG          what is logged, e.g. `info`, `debug`, `greenroom_studio=trace`. Overrides `logging.filter`
  XDG_DATA_HOME     where data is kept unless --data-dir says otherwise
  XDG_RUNTIME_DIR   where the socket for the OBS plugin is

Logs go to the error stream. Ctrl-C or SIGTERM ends Greenroom in order: guests are told, and may resume.";

impl Options {
    /// File, then flags on top, checked.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut raw = match &self.config {
            Some(path) => RawConfig::read(path)?,
            None => RawConfig::default(),
        };
        if let Some(data_dir) = &self.data_dir {
            raw.storage.data_dir = Some(data_dir.clone());
        }
        let mut config = Config::from_raw(raw)?;
        if let Some(listen) = &self.listen {
            config.control_listen = control_address(listen)?;
        }
        if let Some(logging) = logging::current() {
            logging.use_filter(&config.log_filter);
        }
        Ok(config)
    }
}

/// Logs to the error stream, by the environment's filter until the settings are read; call once.
pub fn start_logging(options: &Options) {
    logging::start(options.json_logs);
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn termination() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without a handler SIGTERM ends the process at once; Ctrl-C still ends it in order.
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
