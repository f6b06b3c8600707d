//! Watches a slot exactly as the OBS plugin does, and prints one JSON line per picture: for measuring.
//!
//! `slot_probe SOCKET SLOT` prints `{"handed":…,"arrived":…,"written":…,"presented":…,"width":…,"height":…,"code":…}`:
//! times in milliseconds since 1970, `handed` being the moment at which the plugin would call libobs; `code` is the
//! time code in the picture (the layout is in `tests/lib/timecode.mjs`), or null.

use greenroom_frame_ipc::{Copied, Event, Reader, VideoBuffer, VideoInfo, now_ns};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, socket, slot] = arguments.as_slice() else {
        eprintln!("usage: slot_probe SOCKET SLOT");
        return ExitCode::FAILURE;
    };
    let Ok(slot) = slot.parse() else {
        eprintln!("a slot is a number");
        return ExitCode::FAILURE;
    };
    match watch(Path::new(socket), slot) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until the host goes away or nobody reads our output any more.
fn watch(socket: &Path, slot: u8) -> Result<(), Box<dyn std::error::Error>> {
    let mut reader = Reader::connect(socket, slot)?;
    reader.set_shown(true);
    let mut buffer = VideoBuffer::default();
    let mut out = io::stdout().lock();
    loop {
        poll(&mut [PollFd::new(&reader.as_fd(), PollFlags::IN)], None)?;
        while let Some(event) = reader.next(now_ns())? {
            let Event::Video(info) = event else { continue };
            if reader.copy_video(&info, &mut buffer) == Copied::Whole && !info.still {
                writeln!(out, "{}", line(&info, &buffer))?;
                out.flush()?;
            }
        }
    }
}

fn line(info: &VideoInfo, buffer: &VideoBuffer) -> String {
    let monotonic = now_ns();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as f64;
    let at = |ns: u64| (unix - (monotonic as f64 - ns as f64)) / 1e6;
    let (luma, stride) = buffer.plane(0);
    let code = time_code(luma, stride as usize, info.width as usize, info.height as usize);
    format!(
        r#"{{"handed":{:.3},"arrived":{:.3},"written":{:.3},"presented":{:.3},"width":{},"height":{},"code":{}}}"#,
        at(monotonic),
        at(info.arrival_ns),
        at(info.written_ns),
        at(info.timestamp_ns),
        info.width,
        info.height,
        code.map_or("null".into(), |code| code.to_string()),
    )
}

/// 10 × 4 blocks: 32 bits of time, 8 of CRC; `None` when one is neither dark nor light, or the CRC is wrong.
fn time_code(luma: &[u8], stride: usize, width: usize, height: usize) -> Option<u32> {
    let [left, top, right, bottom] = CODE_AREA;
    let mut bits = 0_u64;
    for block in 0..COLUMNS * ROWS {
        let across = ((block % COLUMNS) as f64 + 0.5) / COLUMNS as f64;
        let down = ((block / COLUMNS) as f64 + 0.5) / ROWS as f64;
        let x = ((left + (right - left) * across) * width as f64) as usize;
        let y = ((top + (bottom - top) * down) * height as f64) as usize;
        let mut sum = 0_u32;
        for (dx, dy) in (0..3).flat_map(|dx| (0..3).map(move |dy| (dx, dy))) {
            sum += u32::from(*luma.get((y + dy).checked_sub(1)? * stride + (x + dx).checked_sub(1)?)?);
        }
        let light = match sum / 9 {
            0..=95 => 0,
            160.. => 1,
            _ => return None,
        };
        bits = bits << 1 | light;
    }
    let value = (bits >> 8) as u32;
    (crc8(value) == bits as u8).then_some(value)
}

/// Polynomial 0x07, started so that neither all-black nor all-white is valid.
fn crc8(value: u32) -> u8 {
    value.to_be_bytes().into_iter().fold(0x5a, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 != 0 { crc << 1 ^ 0x07 } else { crc << 1 })
    })
}

const COLUMNS: usize = 10;
const ROWS: usize = 4;
/// Left, top, right, bottom, in fractions of the picture.
const CODE_AREA: [f64; 4] = [0.05, 0.1, 0.95, 0.7];
