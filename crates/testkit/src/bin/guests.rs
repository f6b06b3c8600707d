//! Guests with recorded cameras and microphones, for `cargo xtask bench guests`: they send until standard input ends.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use greenroom_testkit::recorded_guest::{self, Invitation, RecordedGuest};
use greenroom_testkit::recording::Recording;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Parser)]
struct Options {
    /// Address of the engine's control listener.
    #[arg(long)]
    control: SocketAddr,
    #[arg(long)]
    room: String,
    /// An invite's token for each guest; they are called "Guest 1" and so on.
    #[arg(long, required = true)]
    token: Vec<String>,
    /// Recorded cameras (.h264, .ivf), which the guests take in turn.
    #[arg(long, required = true)]
    video: Vec<PathBuf>,
    /// The recorded microphone (.opus).
    #[arg(long)]
    audio: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let read = |path: &PathBuf| Recording::read(path).map(Arc::new);
    let cameras = options.video.iter().map(read).collect::<Result<Vec<_>>>()?;
    let microphone = options.audio.iter().map(read).collect::<Result<Vec<_>>>()?;
    let mut guests = Vec::new();
    for (number, token) in (0..).zip(&options.token) {
        let invitation = Invitation {
            control: options.control,
            room: options.room.clone(),
            token: token.clone(),
            name: format!("Guest {}", number + 1),
        };
        let camera = &cameras[number as usize % cameras.len()];
        let tracks: Vec<_> = std::iter::once(camera).chain(&microphone).cloned().collect();
        guests.push(RecordedGuest::join(&invitation, number, &tracks)?);
    }
    println!("ready");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            stop.store(true, Ordering::Relaxed);
        });
        recorded_guest::run(&mut guests, &stop)
    })
}
