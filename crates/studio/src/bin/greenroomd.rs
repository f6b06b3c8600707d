//! Greenroom without a window: starts the engine, says where it is, ends it in order.
#![forbid(unsafe_code)]

use anyhow::Context;
use clap::Parser;
use greenroom_studio::obs_install::ObsInstall;
use greenroom_studio::{Studio, cli};
use std::process::ExitCode;
use std::time::Duration;

/// Remote guests in OBS, from your own computer, without a window.
///
/// Starts the engine: guests join from a browser by an invite link, and appear in OBS as native sources.
#[derive(Parser)]
#[command(name = "greenroomd", version)]
struct Options {
    #[command(flatten)]
    common: cli::Options,
    /// When ready, print where the engine is and the owner's token as one JSON line on the standard output:
    /// {"control":…,"token":…,"dashboard":…}. Whoever reads it owns the show.
    #[arg(long)]
    print_access: bool,
    /// Install the OBS plugin for this user, and end. A newer one is left as it is, which is an error.
    #[arg(long)]
    install_obs_plugin: bool,
    /// Remove the OBS plugin of this user, and end. Scenes keep their sources, which show nothing without it.
    #[arg(long, conflicts_with = "install_obs_plugin")]
    remove_obs_plugin: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    cli::start_logging(&options.common);
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greenroomd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let config = options.common.config()?;
    if options.install_obs_plugin {
        for path in ObsInstall::new(config.obs.plugin).install()? {
            println!("Installed the OBS plugin to {}. Restart OBS if it is running.", path.display());
        }
        return Ok(());
    }
    if options.remove_obs_plugin {
        ObsInstall::new(config.obs.plugin).remove()?;
        println!("Removed the OBS plugin. OBS keeps it until it is restarted.");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let studio = Studio::start(config).await?;
        if options.print_access {
            println!("{}", serde_json::to_string(&studio.access())?);
        }
        let gave_up = studio.gave_up();
        let failed = tokio::select! {
            () = cli::termination() => false,
            () = gave_up => true,
            () = faults(&studio) => false,
        };
        studio.shutdown(SHUTDOWN_DEADLINE).await;
        anyhow::ensure!(!failed, "the engine failed and could not be started again");
        Ok(())
    })
}

/// Never ends. A debug build can be hurt, to see it heal: SIGUSR1 lets the first forwarding worker panic, SIGUSR2 the stage.
#[cfg(debug_assertions)]
async fn faults(studio: &Studio) {
    use greenroom_studio::Fault;
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut first), Ok(mut second)) =
        (signal(SignalKind::user_defined1()), signal(SignalKind::user_defined2()))
    else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            Some(()) = first.recv() => studio.suffer(Fault::Worker(0)).await,
            Some(()) = second.recv() => studio.suffer(Fault::Stage).await,
        }
    }
}

#[cfg(not(debug_assertions))]
async fn faults(_: &Studio) {
    std::future::pending().await
}

/// Guests get their goodbye and files their end within this time.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
