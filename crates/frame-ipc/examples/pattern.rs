//! A host that needs no guest: slots with a moving pattern, a picture counter and a tone, for trying OBS.
//!
//! `pattern SOCKET [--slots N] [--size 640x360] [--fps 30] [--rotate 90] [--names Ada,Bob] [--still] [--flash]
//!  [--card bt601|bt709[-full][-nv12]]`
//!
//! Eight by eight pixels make a dot. The top row of dots has the picture counter as 32 bits, white for 1, the
//! highest bit at the left; the second row the complement. Slot `n` plays 440 × n Hz at a quarter of full scale.
//! With `--flash` the picture is white and the tone sounds only in the first tenth of each second: pictures and
//! sound that belong together. With `--card` the picture is a row of the colours in [`CARD`] instead. Commands on standard input: `leave N`, `enter N NAME`, `camera N on|off`,
//! and of all slots at once `size WxH`, `rotate DEGREES` and `fps N`.

use greenroom_frame_ipc::*;
use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

struct Options {
    socket: String,
    slots: u8,
    width: u32,
    height: u32,
    fps: u64,
    rotation: Rotation,
    names: Vec<String>,
    still: bool,
    flash: bool,
    card: Option<Card>,
}

/// How a test card is written.
#[derive(Clone, Copy)]
struct Card {
    matrix: Matrix,
    full_range: bool,
    format: PixelFormat,
}

impl Card {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split('-');
        let matrix = match words.next()? {
            "bt601" => Matrix::Bt601,
            "bt709" => Matrix::Bt709,
            _ => return None,
        };
        let words: Vec<_> = words.collect();
        let format = if words.contains(&"nv12") { PixelFormat::Nv12 } else { PixelFormat::I420 };
        Some(Self { matrix, full_range: words.contains(&"full"), format })
    }
}

fn options() -> Option<Options> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options {
        socket: arguments.next()?,
        slots: 2,
        width: 640,
        height: 360,
        fps: 30,
        rotation: Rotation::None,
        names: vec!["Ada".into(), "Bob".into()],
        still: false,
        flash: false,
        card: None,
    };
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--slots" => options.slots = arguments.next()?.parse().ok()?,
            "--size" => {
                let size = arguments.next()?;
                let (width, height) = size.split_once('x')?;
                (options.width, options.height) = (width.parse().ok()?, height.parse().ok()?);
            }
            "--fps" => options.fps = arguments.next()?.parse().ok()?,
            "--rotate" => options.rotation = Rotation::from_degrees(arguments.next()?.parse().ok()?)?,
            "--names" => options.names = arguments.next()?.split(',').map(str::to_owned).collect(),
            "--still" => options.still = true,
            "--flash" => options.flash = true,
            "--card" => options.card = Some(Card::parse(&arguments.next()?)?),
            _ => return None,
        }
    }
    Some(options)
}

fn main() {
    let Some(mut options) = options() else {
        eprintln!(
            "usage: pattern SOCKET [--slots N] [--size WxH] [--fps N] [--rotate DEG] [--names A,B] [--still] [--flash] [--card KIND]"
        );
        std::process::exit(2);
    };
    let host = Host::bind(Path::new(&options.socket), options.slots).expect("cannot bind");
    let mut slots: Vec<_> = (1..=options.slots).filter_map(|n| host.slot(n)).collect();
    let mut states: Vec<_> = (0..slots.len()).map(|i| state(options.names.get(i).cloned(), 1)).collect();
    for (slot, state) in slots.iter_mut().zip(&states) {
        slot.set_state(state.clone());
    }
    println!("ready");

    // A rendezvous: a command waits for the next picture.
    let (send, commands) = std::sync::mpsc::sync_channel(0);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });

    let started = now_ns();
    let (mut pictures, mut chunks) = (0_u64, 0_u64);
    // When the present frame rate began, and with which picture.
    let mut beat = (started, 0);
    let mut picture = Pattern::new(options.width, options.height);
    loop {
        let picture_at = beat.0 + (pictures - beat.1) * 1_000_000_000 / options.fps;
        let chunk_at = started + chunks * CHUNK_NS;
        // Sound is written before its time, as the media worker does.
        let write_at = chunk_at.saturating_sub(LEAD_NS);
        let next = picture_at.min(write_at);
        std::thread::sleep(Duration::from_nanos(next.saturating_sub(now_ns())));
        if let Ok(line) = commands.try_recv() {
            match line.split_once(' ').and_then(|(order, value)| reshape(order, value, &mut options)) {
                Some(()) => {
                    beat = (picture_at, pictures);
                    picture = Pattern::new(options.width, options.height);
                    println!("{line}");
                }
                None => obey(&line, &mut slots, &mut states),
            }
        }
        if picture_at <= write_at {
            let lit = options.flash && (picture_at - started) % 1_000_000_000 < FLASH_NS;
            for (i, slot) in slots.iter_mut().enumerate().filter(|(i, _)| states[*i].video_live) {
                if !options.still || pictures == 0 {
                    match options.card {
                        Some(card) => picture.draw_card(card),
                        None => picture.draw(pictures, i, lit),
                    }
                    let format = options.card.map_or(PixelFormat::I420, |card| card.format);
                    let planes = picture.planes(format);
                    let frame = VideoFrame {
                        format,
                        width: options.width,
                        height: options.height,
                        planes: &planes,
                        timestamp_ns: picture_at,
                        arrival_ns: picture_at,
                        full_range: options.card.is_some_and(|card| card.full_range),
                        matrix: options.card.map_or(Matrix::Bt709, |card| card.matrix),
                        rotation: options.rotation,
                    };
                    slot.write_video(&frame).expect("the picture is allowed");
                }
            }
            pictures += 1;
        } else {
            for (i, slot) in slots.iter_mut().enumerate().filter(|(i, _)| states[*i].audio_live) {
                let samples: Vec<f32> = (0..CHUNK as u64)
                    .map(|k| {
                        let at = chunks * CHUNK as u64 + k;
                        let silent = options.flash && at * 1_000_000_000 / 48_000 % 1_000_000_000 >= FLASH_NS;
                        let phase = at as f64 * 440.0 * (i + 1) as f64 / 48_000.0;
                        if silent { 0.0 } else { 0.25 * (phase * std::f64::consts::TAU).sin() as f32 }
                    })
                    .collect();
                slot.write_audio(&[&samples, &samples], CHUNK, 48_000, chunk_at)
                    .expect("the sound is allowed");
            }
            chunks += 1;
        }
    }
}

fn state(occupant: Option<String>, epoch: u32) -> SlotState {
    let live = occupant.is_some();
    SlotState { occupant, video_live: live, audio_live: live, epoch, ..SlotState::default() }
}

/// `None`: another order, or none that can be.
fn reshape(order: &str, value: &str, options: &mut Options) -> Option<()> {
    match order {
        "size" => {
            let (width, height) = value.split_once('x')?;
            (options.width, options.height) = (width.parse().ok()?, height.parse().ok()?);
        }
        "fps" => options.fps = value.parse().ok().filter(|fps| (1..=240).contains(fps))?,
        "rotate" => options.rotation = Rotation::from_degrees(value.parse().ok()?)?,
        _ => return None,
    }
    Some(())
}

fn obey(line: &str, slots: &mut [SlotWriter], states: &mut [SlotState]) {
    let words: Vec<_> = line.split(' ').collect();
    let Some(index) = words.get(1).and_then(|n| n.parse::<usize>().ok()).and_then(|n| n.checked_sub(1))
    else {
        return;
    };
    let (Some(slot), Some(known)) = (slots.get_mut(index), states.get_mut(index)) else { return };
    match words[..] {
        ["leave", _] => *known = state(None, known.epoch + 1),
        ["enter", _, name] => *known = state(Some(name.to_owned()), known.epoch + 1),
        ["camera", _, on] => known.video_live = on == "on",
        _ => return,
    }
    slot.set_state(known.clone());
    println!("{line}");
}

struct Pattern {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
    /// U and V in turn, for NV12.
    uv: Vec<u8>,
}

impl Pattern {
    fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        let half = width.div_ceil(2) * height.div_ceil(2);
        Self {
            width,
            height,
            y: vec![0; width * height],
            u: vec![0; half],
            v: vec![0; half],
            uv: vec![0; half * 2],
        }
    }

    fn draw(&mut self, number: u64, slot: usize, lit: bool) {
        let (width, bar) = (self.width, number as usize * 4 % self.width);
        // Line by line: 60 full HD pictures a second are a lot of pixels.
        for (row, line) in self.y.chunks_mut(width).enumerate() {
            line.fill(if lit { 235 } else { 60 + (row * 60 / self.height) as u8 });
            if !lit {
                line[bar.saturating_sub(7)..(bar + 8).min(width)].fill(200);
            }
            let band = row / DOT;
            for (bit, dot) in line.chunks_mut(DOT).take(32).enumerate().filter(|_| band < 2) {
                dot.fill(if (number >> (31 - bit) & 1 == 1) == (band == 0) { 235 } else { 16 });
            }
        }
        // Each slot has a colour of its own.
        let (u, v) = [(90, 200), (200, 90), (90, 90), (200, 200)][slot % 4];
        self.u.fill(u);
        self.v.fill(v);
    }

    fn draw_card(&mut self, card: Card) {
        let colours = CARD.map(|colour| yuv(colour, card));
        let at = |x: usize, width: usize| colours[(x * CARD.len() / width).min(CARD.len() - 1)];
        for line in self.y.chunks_mut(self.width) {
            line.iter_mut().enumerate().for_each(|(x, pixel)| *pixel = at(x, self.width)[0]);
        }
        let half = self.width.div_ceil(2);
        for (plane, index) in [(&mut self.u, 1), (&mut self.v, 2)] {
            for line in plane.chunks_mut(half) {
                line.iter_mut().enumerate().for_each(|(x, pixel)| *pixel = at(x, half)[index]);
            }
        }
        for (pair, (u, v)) in self.uv.as_chunks_mut::<2>().0.iter_mut().zip(self.u.iter().zip(&self.v)) {
            *pair = [*u, *v];
        }
    }

    fn planes(&self, format: PixelFormat) -> Vec<Plane<'_>> {
        let half = self.width.div_ceil(2);
        let luma = Plane { data: &self.y, stride: self.width };
        match format {
            PixelFormat::I420 => {
                vec![luma, Plane { data: &self.u, stride: half }, Plane { data: &self.v, stride: half }]
            }
            PixelFormat::Nv12 => vec![luma, Plane { data: &self.uv, stride: half * 2 }],
        }
    }
}

/// By the definitions of ITU-R BT.601 §2.5 and BT.709 §3.
fn yuv([r, g, b]: [u8; 3], card: Card) -> [u8; 3] {
    let [r, g, b] = [r, g, b].map(|level| f64::from(level) / 255.0);
    let (kr, kb) = match card.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    };
    let y = kr * r + (1.0 - kr - kb) * g + kb * b;
    let (u, v) = ((b - y) / 2.0 / (1.0 - kb), (r - y) / 2.0 / (1.0 - kr));
    let (black, luma, chroma) = if card.full_range { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
    [black + luma * y, 128.0 + chroma * u, 128.0 + chroma * v]
        .map(|level| level.round().clamp(0.0, 255.0) as u8)
}

/// Red, green, blue; the test of the plugin knows them too.
const CARD: [[u8; 3]; 8] = [
    [235, 235, 235],
    [191, 191, 20],
    [20, 191, 191],
    [40, 180, 60],
    [191, 20, 191],
    [200, 50, 40],
    [30, 60, 200],
    [20, 20, 20],
];
const DOT: usize = 8;
const CHUNK: usize = 480;
const CHUNK_NS: u64 = 10_000_000;
const LEAD_NS: u64 = 10_000_000;
const FLASH_NS: u64 = 100_000_000;
