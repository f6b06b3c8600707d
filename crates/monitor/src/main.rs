//! `greenroom-monitor`: plays guests to the streamer. Started by the media worker; see `wire::monitor`.
#![forbid(unsafe_code)]

use greenroom_monitor::device::{Output, Player};
use std::io::{Read, Write, stdin, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use wire::monitor::{CHUNK_BYTES, CHUNK_FRAMES, DeviceId, EXIT_NO_ANSWER, MonitorReport};

fn main() -> ExitCode {
    let wanted = match std::env::args().nth(1).map(DeviceId::try_from).transpose() {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("greenroom-monitor is a part of Greenroom and is started by it ({error}).");
            return ExitCode::from(2);
        }
    };
    greenroom_monitor::cookie::ensure();
    let output = Arc::new(Output::default());
    let player = Player::new(wanted, output.clone());
    if thread::Builder::new().name("device".into()).spawn(move || follow(player)).is_err() {
        return ExitCode::FAILURE;
    }
    let mut input = stdin().lock();
    let mut bytes = [0; CHUNK_BYTES];
    let mut chunk = [[0.0; CHUNK_FRAMES]; 2];
    while input.read_exact(&mut bytes).is_ok() {
        for (index, frame) in bytes.as_chunks::<4>().0.as_chunks::<2>().0.iter().enumerate() {
            for (channel, sample) in frame.iter().enumerate() {
                chunk[channel][index] = f32::from_le_bytes(*sample);
            }
        }
        output.push(&chunk);
    }
    ExitCode::SUCCESS
}

/// Looks after the device, and says how it is: when that changes, and once a second. Ends with whoever listens.
fn follow(mut player: Player) {
    let mut told: Option<(MonitorReport, Instant)> = None;
    loop {
        let report = player.look_around();
        let news = told.as_ref().is_none_or(|(last, at)| *last != report || at.elapsed() >= SAY_EVERY);
        if news {
            let Ok(mut line) = serde_json::to_vec(&report) else { return };
            line.push(b'\n');
            let mut output = stdout().lock();
            if output.write_all(&line).and_then(|()| output.flush()).is_err() {
                return;
            }
            told = Some((report, Instant::now()));
        }
        if player.keeps_waiting() {
            std::process::exit(EXIT_NO_ANSWER);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A device that was pulled out is not played on any longer than this.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SAY_EVERY: Duration = Duration::from_secs(1);
