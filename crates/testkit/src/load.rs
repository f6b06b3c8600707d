//! The load itself: publishers on one thread, subscribers on another, and what was seen of it.

use crate::camera::Sizes;
use crate::process;
use crate::publisher::{self, Publisher};
use crate::subscriber::{Reader, Subscriber};
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long to run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub sizes: Sizes,
    pub warm_up: Duration,
    pub measure: Duration,
}

/// A room under load.
pub struct Room {
    pub publishers: Vec<Publisher>,
    pub subscribers: Vec<Subscriber>,
    /// Keeps signaling alive; called about once a second.
    pub care: Box<dyn FnMut() -> Result<()> + Send>,
}

/// What a run showed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub received: u64,
    pub lost: u64,
    pub streams: usize,
    pub undecryptable: u64,
    pub other: u64,
    /// The server's processor time.
    pub cpu: Duration,
    pub seconds: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
    /// Of the load generator's two threads, for judging whether it was the bottleneck.
    pub load_cpu: Duration,
}

impl Outcome {
    /// CPU seconds per million packets delivered.
    pub fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.received.max(1) as f64
    }

    pub fn packets_per_second(&self) -> f64 {
        self.received as f64 / self.seconds.max(1e-9)
    }
}

/// Runs the load against the server process `pid`.
pub fn run(room: &mut Room, plan: &Plan, pid: u32) -> Result<Outcome> {
    let stop = AtomicBool::new(false);
    let Room { publishers, subscribers, care } = room;
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let outcome = publisher::run(publishers, plan.sizes, &stop);
            outcome.and_then(|()| process::own_cpu_time())
        });
        let receiver = scope.spawn(|| {
            let outcome = receive(subscribers, plan, pid);
            stop.store(true, Ordering::Relaxed);
            outcome
        });
        while !stop.load(Ordering::Relaxed) {
            care()?;
            thread::sleep(Duration::from_millis(200));
        }
        let sender_cpu = sender.join().ok().context("the sender panicked")??;
        let mut outcome = receiver.join().ok().context("the receiver panicked")??;
        outcome.load_cpu += sender_cpu;
        Ok(outcome)
    })
}

fn receive(subscribers: &mut [Subscriber], plan: &Plan, pid: u32) -> Result<Outcome> {
    let mut reader = Reader::default();
    sweep(subscribers, &mut reader, plan.warm_up)?;
    subscribers.iter_mut().for_each(Subscriber::begin);
    let (start, cpu) = (Instant::now(), process::cpu_time(pid)?);
    sweep(subscribers, &mut reader, plan.measure)?;
    let mut outcome = Outcome {
        cpu: process::cpu_time(pid)? - cpu,
        seconds: start.elapsed().as_secs_f64(),
        load_cpu: process::own_cpu_time()?,
        ..Outcome::default()
    };
    let mut delays = Vec::new();
    for subscriber in subscribers {
        let (streams, lost) = subscriber.count();
        outcome.streams += streams;
        outcome.lost += lost;
        outcome.received += subscriber.tally.received;
        outcome.undecryptable += subscriber.tally.undecryptable;
        outcome.other += subscriber.tally.other;
        delays.append(&mut subscriber.tally.delays);
    }
    delays.sort_unstable();
    outcome.p50 = percentile(&delays, 0.50);
    outcome.p99 = percentile(&delays, 0.99);
    Ok(outcome)
}

/// Reads every socket each [`NAP`], which costs the sender no wake-ups of ours; the kernel notes when things came.
fn sweep(subscribers: &mut [Subscriber], reader: &mut Reader, length: Duration) -> Result<()> {
    let start = Instant::now();
    let mut turn = 0;
    let mut next_feedback = Duration::ZERO;
    while start.elapsed() < length {
        for subscriber in subscribers.iter_mut() {
            reader.drain(subscriber);
        }
        // Feedback and care fall on all subscribers in turn, not on all at once.
        while start.elapsed() >= next_feedback && !subscribers.is_empty() {
            let count = subscribers.len() as u32;
            let subscriber = &mut subscribers[(turn % count) as usize];
            subscriber.send_feedback()?;
            if (turn / count).is_multiple_of(CARE_EVERY) {
                subscriber.look_after()?;
            }
            turn += 1;
            next_feedback += FEEDBACK / count;
        }
        thread::sleep(NAP);
    }
    Ok(())
}

fn percentile(sorted_ns: &[u32], part: f64) -> f64 {
    let at = ((sorted_ns.len() as f64 * part) as usize).min(sorted_ns.len().saturating_sub(1));
    sorted_ns.get(at).map_or(0.0, |ns| f64::from(*ns) / 1000.0)
}

const NAP: Duration = Duration::from_micros(1_500);
/// libwebrtc's usual interval of transport-wide feedback.
const FEEDBACK: Duration = Duration::from_millis(100);
/// Checks and reports with every tenth feedback: once a second.
const CARE_EVERY: u32 = 10;
