//! `greenroom-media`: the media worker. Started by the engine, which hands it two descriptors; see `wire::link`.

use greenroom_media::control::{Exit, run};
use std::process::ExitCode;
use wire::link::{EXIT_SOCKET, LINK_ENV, MEDIA_ENV};

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("GREENROOM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let (Some(link), Some(media)) =
        (greenroom_media::inherited(LINK_ENV), greenroom_media::inherited(MEDIA_ENV))
    else {
        eprintln!("greenroom-media is a part of Greenroom and is started by it.");
        return ExitCode::from(2);
    };
    // The descriptors end with the engine too; this also holds when a copy of one has leaked into another process.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    greenroom_media::crash::abort_on_panic();
    match run(link, media) {
        Exit::EngineGone => ExitCode::SUCCESS,
        Exit::Socket(error) => {
            tracing::error!(%error, "cannot open the socket for OBS");
            ExitCode::from(EXIT_SOCKET as u8)
        }
        Exit::Link(error) => {
            tracing::error!(%error, "the link to the engine broke");
            ExitCode::FAILURE
        }
    }
}
