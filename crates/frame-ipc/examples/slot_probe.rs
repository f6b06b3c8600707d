//! Watches a slot exactly as the OBS plugin does, and prints one JSON line per picture: for measuring.
//!
//! `slot_probe SOCKET SLOT` prints
//! `{"handed":…,"arrived":…,"written":…,"presented":…,"number":…,"width":…,"height":…,"code":…,"flash":…}`:
//! times in milliseconds since 1970, `handed` being the moment at which the plugin would call libobs; `code` is the
//! time code in the picture (the layout is in `tests/lib/timecode.mjs`), or null; `flash` whether its flash is lit.
//! When sound becomes loud after 200 ms without, it prints `{"onset":…,"handed":…}`, the sample's presentation time.

use greenroom_frame_ipc::{
    AudioBuffer, AudioInfo, Copied, Event, Look, Reader, Subject, VideoBuffer, VideoInfo, now_ns,
};
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
    let mut reader = Reader::connect(socket, Subject::slot(slot))?;
    reader.set_look(Look::PROGRAM);
    let mut picture = VideoBuffer::default();
    let mut sound = AudioBuffer::default();
    let mut ear = Ear::default();
    let mut out = io::stdout().lock();
    loop {
        poll(&mut [PollFd::new(&reader.as_fd(), PollFlags::IN)], None)?;
        while let Some(event) = reader.next(now_ns())? {
            let line = match event {
                Event::Video(info)
                    if !info.still && reader.copy_video(&info, &mut picture) == Copied::Whole =>
                {
                    Some(picture_line(&info, &picture))
                }
                Event::Audio(info) if reader.copy_audio(&info, &mut sound) == Copied::Whole => {
                    ear.onset(&info, &sound).map(onset_line)
                }
                _ => None,
            };
            if let Some(line) = line {
                writeln!(out, "{line}")?;
                out.flush()?;
            }
        }
    }
}

fn picture_line(info: &VideoInfo, buffer: &VideoBuffer) -> String {
    let clock = Clock::read();
    let (luma, stride) = buffer.plane(0);
    let (width, height) = (info.width as usize, info.height as usize);
    let code = time_code(luma, stride as usize, width, height);
    let flash =
        luma.get((FLASH_Y * height as f64) as usize * stride as usize + (FLASH_X * width as f64) as usize);
    format!(
        r#"{{"handed":{:.3},"arrived":{:.3},"written":{:.3},"presented":{:.3},"number":{},"width":{width},"height":{height},"code":{},"flash":{}}}"#,
        clock.unix_ms(clock.monotonic),
        clock.unix_ms(info.arrival_ns),
        clock.unix_ms(info.written_ns),
        clock.unix_ms(info.timestamp_ns),
        info.number(),
        code.map_or("null".into(), |code| code.to_string()),
        flash.is_some_and(|level| *level > 128),
    )
}

fn onset_line(presented: u64) -> String {
    let clock = Clock::read();
    format!(r#"{{"onset":{:.3},"handed":{:.3}}}"#, clock.unix_ms(presented), clock.unix_ms(clock.monotonic))
}

/// Both clocks at one moment.
struct Clock {
    monotonic: u64,
    unix_ns: f64,
}

impl Clock {
    fn read() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { monotonic: now_ns(), unix_ns: unix.as_nanos() as f64 }
    }

    fn unix_ms(&self, monotonic: u64) -> f64 {
        (self.unix_ns - (self.monotonic as f64 - monotonic as f64)) / 1e6
    }
}

/// Hears beeps begin.
#[derive(Default)]
struct Ear {
    last_loud: u64,
}

impl Ear {
    /// When the first loud sample after a while is to be heard.
    fn onset(&mut self, info: &AudioInfo, buffer: &AudioBuffer) -> Option<u64> {
        let mut found = None;
        for (i, sample) in buffer.channel(0).iter().enumerate() {
            if sample.abs() < LOUD {
                continue;
            }
            let at = info.timestamp_ns + i as u64 * 1_000_000_000 / u64::from(info.sample_rate);
            if at.saturating_sub(self.last_loud) > QUIET_NS {
                found.get_or_insert(at);
            }
            self.last_loud = at;
        }
        found
    }
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
/// The middle of the flash area.
const FLASH_X: f64 = 0.75;
const FLASH_Y: f64 = 0.895;
/// Louder than the tone (0.1), softer than the beep (0.5).
const LOUD: f32 = 0.25;
const QUIET_NS: u64 = 200_000_000;
