//! A bad network between two network namespaces: a TUN device in each, and this program in between (Linux, root).
//!
//! `impaired-link NS-A ADDR-A/LEN NS-B ADDR-B/LEN` makes `tun0` in both namespaces and carries packets until its input ends.
//! Each line of input changes a direction or both: `ab loss=3 delay=50 rate=1000`, `ba …`, `both …`. It answers
//! each with a line of what has been carried, and says `ready` at the start.

mod tun;

use anyhow::{Result, bail};
use greenroom_testkit::link::{Impairment, Link};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write, stdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ns_a, address_a, ns_b, address_b] = arguments.as_slice() else {
        bail!("usage: impaired-link NS-A ADDR-A/LEN NS-B ADDR-B/LEN");
    };
    let a = Arc::new(tun::open_in(ns_a, address_a)?);
    let b = Arc::new(tun::open_in(ns_b, address_b)?);
    let start = Instant::now();
    let ab = carry(start, a.clone(), b.clone(), 1);
    let ba = carry(start, b, a, 2);
    println!("ready");
    for line in stdin().lines() {
        let line = line?;
        let (direction, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let links: &[&Arc<Mutex<Link>>] = match direction {
            "ab" => &[&ab],
            "ba" => &[&ba],
            "both" => &[&ab, &ba],
            _ => bail!("a line begins with ab, ba or both, not `{direction}`"),
        };
        let impairment: Impairment = rest.parse()?;
        for link in links {
            lock(link)?.impairment = impairment;
        }
        println!("ab {:?} ba {:?}", lock(&ab)?.tally, lock(&ba)?.tally);
    }
    Ok(())
}

fn lock(link: &Mutex<Link>) -> Result<std::sync::MutexGuard<'_, Link>> {
    link.lock().map_err(|_| anyhow::anyhow!("a carrying thread has died"))
}

/// A packet under way: when it comes out.
type Parcel = (Duration, Vec<u8>);

/// Two threads: one reads and decides, one waits and writes.
fn carry(start: Instant, from: Arc<File>, to: Arc<File>, seed: u64) -> Arc<Mutex<Link>> {
    let link = Arc::new(Mutex::new(Link::new(Impairment::default(), seed)));
    let (sender, receiver) = sync_channel::<Parcel>(MAX_UNDER_WAY);
    let shared = link.clone();
    thread::spawn(move || take(start, &from, &shared, &sender));
    thread::spawn(move || give(start, &to, &receiver));
    link
}

fn take(start: Instant, mut from: &File, link: &Mutex<Link>, sender: &SyncSender<Parcel>) {
    let mut buffer = [0; 65_536];
    while let Ok(len) = from.read(&mut buffer) {
        let Ok(mut link) = link.lock() else { return };
        if let Some(at) = link.carry(start.elapsed(), len) {
            // Full: the path is wider than this program; the packet is lost.
            let _ = sender.try_send((at, buffer[..len].to_vec()));
        }
    }
}

/// Parcels come out in the order they went in: [`Link`] keeps it.
fn give(start: Instant, mut to: &File, receiver: &Receiver<Parcel>) {
    let mut waiting: VecDeque<Parcel> = VecDeque::new();
    loop {
        let now = start.elapsed();
        while waiting.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, packet)) = waiting.pop_front() {
                let _ = to.write(&packet);
            }
        }
        let patience = waiting.front().map_or(Duration::from_secs(1), |(at, _)| at.saturating_sub(now));
        match receiver.recv_timeout(patience) {
            Ok(parcel) => waiting.push_back(parcel),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

const MAX_UNDER_WAY: usize = 8_192;
