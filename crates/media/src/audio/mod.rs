//! Everybody's sound: one thread that wakes every 10 ms and plays each guest's next chunk.

pub mod level;
pub mod resample;
mod track;

pub use track::Track;

use crate::locked;
use crate::monitor::{Mixer, Monitor};
use crate::priority;
use crate::video::Surroundings;
use frame_ipc::now_ns;
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use wire::dashboard::Level;
use wire::link::FromWorker;

/// 10 ms of one guest: left and right.
pub type Chunk = [[f32; CHUNK]; 2];

/// Samples in a [`Chunk`], per channel.
pub const CHUNK: usize = 480;
pub const SAMPLE_RATE: u32 = 48_000;

/// Handle of the thread; it lives as long as the process.
pub struct AudioThread {
    /// Tracks on their way to the thread. A lock, because the thread is asleep most of the time and looks here when
    /// it wakes.
    arriving: Arc<Mutex<Vec<Track>>>,
}

impl AudioThread {
    pub fn start(around: Surroundings, monitor: &Monitor) -> io::Result<Self> {
        let arriving = Arc::new(Mutex::new(Vec::new()));
        let (arriving_there, mixer) = (arriving.clone(), monitor.mixer());
        let thread = Metronome { arriving: arriving_there, tracks: Vec::new(), around, mixer, ticks: 0 };
        thread::Builder::new().name("audio".into()).spawn(move || thread.run())?;
        Ok(Self { arriving })
    }

    /// The track plays until its feed's inbox is closed.
    pub fn add(&self, track: Track) {
        locked(&self.arriving).push(track);
    }
}

struct Metronome {
    arriving: Arc<Mutex<Vec<Track>>>,
    tracks: Vec<Track>,
    around: Surroundings,
    mixer: Mixer,
    ticks: u32,
}

impl Metronome {
    fn run(mut self) {
        priority::raise_this_thread();
        let mut play_ns = next_tick(now_ns());
        loop {
            sleep_until(play_ns - LEAD_NS);
            let now = now_ns();
            if now > play_ns + MAX_LATE_NS {
                tracing::debug!(late_ms = (now - play_ns) / 1_000_000, "sound was stalled");
                let present = next_tick(now);
                if present - play_ns <= MAKES_UP_FOR_NS {
                    for missed in (play_ns..present).step_by(TICK_NS as usize) {
                        self.play(missed, Punctuality::TooLateForObs);
                    }
                }
                play_ns = present;
            }
            self.tracks.append(&mut locked(&self.arriving));
            self.play(play_ns, Punctuality::InTime);
            self.ticks += 1;
            if self.ticks.is_multiple_of(LEVEL_TICKS) {
                self.tell_levels();
            }
            play_ns += TICK_NS;
        }
    }

    fn play(&mut self, play_ns: u64, punctuality: Punctuality) {
        self.mixer.begin();
        self.tracks.retain_mut(|track| track.play(play_ns, punctuality, &self.around.slots, &mut self.mixer));
        self.mixer.finish();
    }

    fn tell_levels(&mut self) {
        let levels: Vec<Level> = self.tracks.iter_mut().filter_map(Track::level).collect();
        if !levels.is_empty() {
            self.around.link.tell(&FromWorker::Levels { levels });
        }
    }
}

/// Whether a chunk is played when it was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Punctuality {
    InTime,
    /// Late sound makes OBS delay the sound of all its sources, for good: after a stall its stream goes on at the
    /// present, with a hole. Headphones have a buffer, and want all of it.
    TooLateForObs,
}

/// The first moment on the grid of ticks whose sound can still be handed over in time.
fn next_tick(now: u64) -> u64 {
    (now + LEAD_NS).next_multiple_of(TICK_NS)
}

fn sleep_until(at_ns: u64) {
    let at = rustix::time::Timespec {
        tv_sec: (at_ns / 1_000_000_000) as i64,
        tv_nsec: (at_ns % 1_000_000_000) as i64,
    };
    // Woken early by a signal: then the chunk is early, which harms nobody.
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &at);
}

pub const TICK_NS: u64 = 10_000_000;
/// A chunk is handed over this long before its time, against a busy machine's late wake-ups.
pub const LEAD_NS: u64 = 10_000_000;
/// The plugin plays sound a canvas frame (33 ms at 30 fps) after its time, OBS mixes 21 ms at once: this much is left.
const MAX_LATE_NS: u64 = 15_000_000;
/// More than the headphones' buffer ever holds: there it is a hole anyway.
const MAKES_UP_FOR_NS: u64 = 200_000_000;
/// Ten times a second.
const LEVEL_TICKS: u32 = 10;
