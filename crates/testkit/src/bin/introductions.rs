//! `cargo xtask bench signaling`: what introducing peers costs, beside a bare socket.io server, in one run.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use greenroom_testkit::crowd::Crowd;
use greenroom_testkit::greenroom::Server;
use greenroom_testkit::process;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Options {
    /// The `greenroomd` to measure.
    #[arg(long)]
    server: PathBuf,
    /// The socket.io server beside it, as a script for Node.
    #[arg(long)]
    reference: PathBuf,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Seconds to measure each.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Sockets to hold idle in the end.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
}

/// What one server did.
struct Measured {
    storm: Duration,
    octets_per_idle: f64,
    per_cpu_second: f64,
    per_second: f64,
    latency: Latency,
}

struct Latency {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let reference = Reference::start(&options.reference)?;
    let theirs = measure(&options, reference.address, reference.child.id()).context("measuring socket.io")?;
    drop(reference);
    let server = Server::start(&options.server, true)?;
    let ours = measure(&options, server.control(), server.pid()).context("measuring Greenroom")?;
    let (held, octets_held) = hold(&server, options.idle)?;
    drop(server);

    let row = |name: &str, it: &Measured| {
        println!(
            "{name:<22} {:>8.2} s {:>10.1} kB {:>12.0} {:>12.0} {:>10.0} {:>9.2} ms {:>9.2} ms",
            it.storm.as_secs_f64(),
            it.octets_per_idle / 1024.0,
            it.per_second,
            it.per_cpu_second,
            it.latency.rate,
            it.latency.p50.as_secs_f64() * 1e3,
            it.latency.p99.as_secs_f64() * 1e3
        );
    };
    println!(
        "                       storm of    memory per    messages     messages     half load      median      p99"
    );
    println!(
        "                       {SOCKETS}     idle socket   a second     a CPU s      messages/s    (at half load)"
    );
    row("socket.io 4 on Node", &theirs);
    row("Greenroom", &ours);
    println!("{held} idle sockets held for {} s, {:.1} kB each", HOLD.as_secs(), octets_held / 1024.0);
    if options.json {
        let summary = json!({
            "ratio_messages_per_cpu": ours.per_cpu_second / theirs.per_cpu_second,
            "ratio_memory_per_idle": ours.octets_per_idle / theirs.octets_per_idle,
            "p99_ms": ours.latency.p99.as_secs_f64() * 1e3,
            "idle_held": held,
            "storm_secs": ours.storm.as_secs_f64(),
        });
        println!("{summary}");
    }
    Ok(())
}

fn measure(options: &Options, address: SocketAddr, pid: u32) -> Result<Measured> {
    let mut crowd = Crowd::new(address)?;
    // What a first connection makes the server allocate once is not the connections'.
    crowd.open(WARM_UP)?;
    settle(&mut crowd)?;
    let before = process::memory(pid)?;
    let storm = crowd.open(SOCKETS)?;
    settle(&mut crowd)?;
    let octets_per_idle = (process::memory(pid)?.saturating_sub(before)) as f64 / SOCKETS as f64;

    let pairs = introduce(&mut crowd)?;
    let window = Duration::from_secs(options.seconds);
    relay(&mut crowd, &pairs, Duration::from_secs(1))?;
    let (cpu, start) = (process::cpu_time(pid)?, Instant::now());
    let messages = relay(&mut crowd, &pairs, window)?;
    let (cpu, time) = (process::cpu_time(pid)? - cpu, start.elapsed());
    let per_second = messages as f64 / time.as_secs_f64();
    let latency = pace(&mut crowd, &pairs, per_second / 2.0, window)?;
    let per_cpu_second = messages as f64 / cpu.as_secs_f64();
    Ok(Measured { storm, octets_per_idle, per_cpu_second, per_second, latency })
}

/// Lets what is under way arrive, and allocators give back what they will.
fn settle(crowd: &mut Crowd) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        crowd.turn(Duration::from_millis(50), |_, _| {})?;
    }
    Ok(())
}

/// One who sends to another, by name.
struct Pair {
    from: usize,
    /// What the server calls the other one.
    name: String,
}

/// Announces two to each hash; the second learns the first one's name.
fn introduce(crowd: &mut Crowd) -> Result<Vec<Pair>> {
    for second in [false, true] {
        for pair in 0..PAIRS {
            let number = WARM_UP + pair * 2 + usize::from(second);
            crowd.send(number, &format!("42[\"announce\",{{\"hash\":\"file-{pair}\"}}]"));
            crowd.flush(number);
        }
        let mut names = vec![None; PAIRS];
        let end = Instant::now() + Duration::from_secs(10);
        while names.iter().any(Option::is_none) {
            crowd.turn(Duration::from_millis(50), |number, text| {
                let list =
                    serde_json::from_str::<Value>(&text[2..]).ok().filter(|list| list[0] == "peer-list");
                if let (Some(list), Some(pair)) = (list, number.checked_sub(WARM_UP).map(|number| number / 2))
                {
                    names[pair] = Some(list[1]["peers"][0].as_str().unwrap_or_default().to_owned());
                }
            })?;
            if Instant::now() > end {
                bail!("not everybody was introduced");
            }
        }
        if second {
            let pair = |(pair, name): (usize, Option<String>)| {
                Some(Pair { from: WARM_UP + pair * 2 + 1, name: name? })
            };
            return Ok(names.into_iter().enumerate().filter_map(pair).collect());
        }
    }
    bail!("nobody was introduced")
}

/// As many as go through: each sends a burst, as a browser that has found its candidates, and the next when that has arrived.
fn relay(crowd: &mut Crowd, pairs: &[Pair], time: Duration) -> Result<u64> {
    let mut arrived = vec![0_usize; pairs.len()];
    let mut messages = 0;
    let mut due: Vec<usize> = (0..pairs.len()).collect();
    let end = Instant::now() + time;
    while Instant::now() < end || arrived.iter().any(|count| *count < BURST) {
        for pair in std::mem::take(&mut due) {
            let text = candidate(&pairs[pair].name, 0);
            for _ in 0..BURST {
                crowd.send(pairs[pair].from, &text);
            }
            crowd.flush(pairs[pair].from);
            arrived[pair] = 0;
        }
        crowd.turn(Duration::from_millis(20), |number, text| {
            if !text.starts_with("42[\"ice-candidate\"") {
                return;
            }
            let pair = (number - WARM_UP) / 2;
            arrived[pair] += 1;
            messages += 1;
            if arrived[pair] == BURST && Instant::now() < end {
                due.push(pair);
            }
        })?;
        if Instant::now() > end + Duration::from_secs(10) {
            bail!(
                "messages were lost: {} pairs wait",
                arrived.iter().filter(|count| **count < BURST).count()
            );
        }
    }
    Ok(messages)
}

/// So many a second, in bursts as before but evenly, and how long each took.
fn pace(crowd: &mut Crowd, pairs: &[Pair], rate: f64, time: Duration) -> Result<Latency> {
    let start = Instant::now();
    let (mut sent, mut taken) = (0_u64, Vec::new());
    while start.elapsed() < time || (taken.len() as u64) < sent {
        let due = if start.elapsed() < time { (start.elapsed().as_secs_f64() * rate) as u64 } else { sent };
        while sent + BURST as u64 <= due {
            let pair = &pairs[(sent as usize / BURST) % pairs.len()];
            let text = candidate(&pair.name, start.elapsed().as_nanos() as u64);
            for _ in 0..BURST {
                crowd.send(pair.from, &text);
            }
            crowd.flush(pair.from);
            sent += BURST as u64;
        }
        crowd.turn(Duration::from_millis(1), |_, text| {
            let at = text.find(STAMP).map(|at| at + STAMP.len());
            let stamp = at.and_then(|at| text[at..].split('"').next()).and_then(|stamp| stamp.parse().ok());
            if let Some(stamp) = stamp.map(Duration::from_nanos) {
                taken.push(start.elapsed().saturating_sub(stamp));
            }
        })?;
        if start.elapsed() > time + Duration::from_secs(10) {
            bail!("messages were lost: {} of {sent} came", taken.len());
        }
    }
    taken.sort_unstable();
    let at = |part: f64| taken.get((taken.len() as f64 * part) as usize).copied().unwrap_or_default();
    Ok(Latency { rate, p50: at(0.5), p99: at(0.99) })
}

/// A candidate as browsers write it.
fn candidate(to: &str, stamp: u64) -> String {
    format!(
        "42[\"ice-candidate\",{{\"targetPeer\":\"{to}\",\"candidate\":{{\"candidate\":\"candidate:842163049 1 udp 1677729535 \
         203.0.113.7 46154 typ srflx raddr 192.168.1.23 rport 46154 generation 0 ufrag EEtu network-id 1\",\"sdpMid\":\"0\",\
         \"sdpMLineIndex\":0}},{STAMP}{stamp}\"}}]"
    )
}

/// Opens so many, waits for some heartbeats, and counts who is left; and what each takes.
fn hold(server: &Server, sockets: usize) -> Result<(usize, f64)> {
    let mut crowd = Crowd::new(server.control())?;
    let before = process::memory(server.pid())?;
    crowd.open(sockets)?;
    let end = Instant::now() + HOLD;
    while Instant::now() < end {
        crowd.turn(Duration::from_millis(100), |_, _| {})?;
    }
    let octets = process::memory(server.pid())?.saturating_sub(before) as f64;
    Ok((crowd.ready(), octets / sockets as f64))
}

/// The bare server.
struct Reference {
    child: Child,
    address: SocketAddr,
}

impl Reference {
    fn start(script: &Path) -> Result<Self> {
        let mut child = Command::new("node")
            .arg(script)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", script.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let address =
            line.trim().trim_start_matches("http://").parse().context("it says where it listens")?;
        Ok(Self { child, address })
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SOCKETS: usize = 2_000;
const WARM_UP: usize = 100;
const PAIRS: usize = 200;
const BURST: usize = 8;
const STAMP: &str = "\"sentAt\":\"";
const HOLD: Duration = Duration::from_secs(30);
