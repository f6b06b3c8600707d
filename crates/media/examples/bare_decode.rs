//! What decoding alone costs, for measuring: libavcodec on one thread, at the pace of the stream, results thrown away.
//!
//! `bare_decode SECONDS FILE...` decodes each file over and over, all of them side by side as if they were live. It prints
//! `begins` and `ends`, and then `{"pictures":…,"pictures_ms":…,"sound_ms":…,"flat_out_ms":…}`: pictures decoded, and processor time (user and system)
//! for them and for the sound. `flat_out_ms` is what as many pictures cost without pauses, with warm caches.

use ffmpeg::codec::{self, decoder, threading};
use ffmpeg::{Packet, frame, media};
use ffmpeg_the_third as ffmpeg;
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seconds, files @ ..] = arguments.as_slice() else {
        return Err("usage: bare_decode SECONDS FILE...".into());
    };
    let length = Duration::from_secs_f64(seconds.parse()?);
    ffmpeg::log::set_level(ffmpeg::log::Level::Fatal);
    let mut streams = files.iter().map(|file| Stream::open(file)).collect::<Result<Vec<_>, _>>()?;
    let count = streams.len() as u32;
    // Pools and tables are filled before it counts, as they are in an engine that has run for a while.
    for stream in &mut streams {
        (0..stream.packets.len()).try_for_each(|_| stream.decode_next())?;
        (stream.sent, stream.pictures) = (0, 0);
    }
    println!("begins");
    let start = Instant::now();
    let (mut pictures_ms, mut sound_ms) = (0.0, 0.0);
    while start.elapsed() < length {
        let due = |(number, stream): (u32, &Stream)| {
            start + stream.period * number / count + stream.period * stream.sent
        };
        let Some(next) = (0..).zip(&streams).map(due).min() else { break };
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        for number in 0..count {
            let stream = &mut streams[number as usize];
            while due((number, stream)) <= now {
                let before = cpu_ms();
                stream.decode_next()?;
                *if stream.is_video() { &mut pictures_ms } else { &mut sound_ms } += cpu_ms() - before;
            }
        }
    }
    println!("ends");
    let pictures: u64 = streams.iter().map(|stream| stream.pictures).sum();
    let before = cpu_ms();
    for stream in streams.iter_mut().filter(|stream| stream.is_video()) {
        let wanted = stream.pictures * 2;
        while stream.pictures < wanted {
            stream.decode_next()?;
        }
    }
    let flat_out_ms = cpu_ms() - before;
    println!(
        r#"{{"pictures":{pictures},"pictures_ms":{pictures_ms:.1},"sound_ms":{sound_ms:.1},"flat_out_ms":{flat_out_ms:.1}}}"#
    );
    Ok(())
}

/// One file, read beforehand.
struct Stream {
    packets: Vec<Packet>,
    decoder: Decoder,
    period: Duration,
    sent: u32,
    pictures: u64,
}

enum Decoder {
    Video(decoder::Video),
    Audio(decoder::Audio),
}

impl Stream {
    fn open(file: &str) -> Result<Self, Box<dyn Error>> {
        let mut input = ffmpeg::format::input(file)?;
        let stream = input.streams().next().ok_or("no stream")?;
        let is_audio = stream.parameters().medium() == media::Type::Audio;
        let mut context = codec::Context::from_parameters(stream.parameters())?;
        context.set_flags(codec::Flags::LOW_DELAY);
        context.set_threading(threading::Config::count(1));
        let (decoder, period) = match is_audio {
            true => (Decoder::Audio(context.decoder().audio()?), Duration::from_millis(20)),
            false => (Decoder::Video(context.decoder().video()?), Duration::from_nanos(1_000_000_000 / 30)),
        };
        let packets =
            input.packets().map(|packet| Ok(packet?.1)).collect::<Result<Vec<_>, ffmpeg::Error>>()?;
        Ok(Self { packets, decoder, period, sent: 0, pictures: 0 })
    }

    fn is_video(&self) -> bool {
        matches!(self.decoder, Decoder::Video(_))
    }

    fn decode_next(&mut self) -> Result<(), ffmpeg::Error> {
        let packet = &self.packets[self.sent as usize % self.packets.len()];
        self.sent += 1;
        match &mut self.decoder {
            Decoder::Video(decoder) => {
                decoder.send_packet(packet)?;
                let mut picture = frame::Video::empty();
                while decoder.receive_frame(&mut picture).is_ok() {
                    self.pictures += 1;
                }
            }
            Decoder::Audio(decoder) => {
                decoder.send_packet(packet)?;
                let mut sound = frame::Audio::empty();
                while decoder.receive_frame(&mut sound).is_ok() {}
            }
        }
        Ok(())
    }
}

fn cpu_ms() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}
