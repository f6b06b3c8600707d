//! The command line that `greenroom` and `greenroomd` share.

use crate::config::{Config, ConfigError, RawConfig, control_address};
use clap::Parser;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

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
  RUST_LOG          what is logged, e.g. `info` (the default), `debug`, `greenroom_studio=trace`
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
        Ok(config)
    }
}

/// Logs to the error stream; call once.
pub fn start_logging(options: &Options) {
    let filter = match EnvFilter::try_from_default_env() {
        // Below this, libraries log whole frames, tokens among them.
        Ok(asked) => signaling::LOG_CEILING.parse().into_iter().fold(asked, EnvFilter::add_directive),
        Err(_) => EnvFilter::new(DEFAULT_FILTER),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber (in tests) is refused; the first stays.
    let _ = if options.json_logs { builder.json().try_init() } else { builder.try_init() };
}

/// The DTLS library warns of every extension of a browser's ClientHello that it does not know, the SCTP library of every
/// packet that a client makes up.
const DEFAULT_FILTER: &str = "info,rtc_dtls=error,sctp_proto=error";

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
