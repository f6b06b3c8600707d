//! `cargo xtask bench forward`: what forwarding costs, beside the least it can cost and beside Janus, in one run.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::Parser;
use greenroom_testkit::camera::{PACKETS_PER_SECOND, Sizes};
use greenroom_testkit::load::{self, Outcome, Plan};
use greenroom_testkit::{churn, floor, greenroom, janus, process};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
struct Options {
    /// The `greenroomd` to measure.
    #[arg(long)]
    server: PathBuf,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Only shapes such as `15x15`, with commas between them.
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<String>,
    /// Leave Janus out.
    #[arg(long)]
    no_janus: bool,
    /// Leave recorded sizes out.
    #[arg(long)]
    no_mixed: bool,
    /// How many people come and go in the end, to see that memory stays flat: as many as in an hour with one every 3.6 s;
    /// with `--shapes`, none.
    #[arg(long)]
    churn: Option<usize>,
    /// Seconds to measure each.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Who sends and who receives.
#[derive(Clone, Copy)]
struct Shape {
    publishers: usize,
    subscribers: usize,
    /// The last one is about capacity; Janus cannot carry it, and takes the machine down with it.
    with_janus: bool,
    /// Once more with every packet sent as it comes: what gathering costs in delay and saves in work.
    with_prompt: bool,
}

const SHAPES: [Shape; 4] = [
    Shape { publishers: 1, subscribers: 100, with_janus: true, with_prompt: false },
    Shape { publishers: 15, subscribers: 15, with_janus: true, with_prompt: true },
    Shape { publishers: 15, subscribers: 60, with_janus: true, with_prompt: false },
    Shape { publishers: 20, subscribers: 100, with_janus: false, with_prompt: false },
];

impl Shape {
    fn name(self) -> String {
        format!("{}x{}", self.publishers, self.subscribers)
    }

    /// Forwarded packets a second.
    fn rate(self) -> f64 {
        (self.publishers * self.subscribers) as f64 * PACKETS_PER_SECOND as f64
    }
}

/// What one server did in one shape.
struct Measured {
    outcome: Outcome,
    kb_per_peer: f64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut rows = Vec::new();
    for shape in SHAPES {
        if options.shapes.is_empty() || options.shapes.contains(&shape.name()) {
            rows.push(measure(&options, shape).with_context(|| format!("measuring {}", shape.name()))?);
        }
    }
    let churn = match options.churn.unwrap_or(if options.shapes.is_empty() { CHURN } else { 0 }) {
        0 => None,
        joins => Some(come_and_go(&options, joins).context("measuring joins and leaves")?),
    };
    if options.json {
        println!("{}", json!({ "shapes": rows, "churn": churn }));
    }
    Ok(())
}

fn come_and_go(options: &Options, joins: usize) -> Result<Value> {
    eprintln!("\n{joins} joins and leaves");
    let server = greenroom::Server::start(&options.server, true)?;
    server.open_room("churn")?;
    let outcome = churn::run(&server, "churn", joins)?;
    let kilobytes: Vec<u64> = outcome.memory.iter().map(|octets| octets / 1000).collect();
    eprintln!(
        "  {:22} {} kB: before, and after each quarter; {:.0} octets left by each join after the first quarter",
        "ours, memory",
        kilobytes.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        outcome.per_join(),
    );
    Ok(json!({ "joins": joins, "kb": kilobytes, "bytes_per_join": outcome.per_join().round() }))
}

fn measure(options: &Options, shape: Shape) -> Result<Value> {
    eprintln!("\n{} publishers, {} subscribers", shape.publishers, shape.subscribers);
    let plan = Plan { sizes: Sizes::Equal, warm_up: WARM_UP, measure: Duration::from_secs(options.seconds) };
    // Half before, half after: a machine's speed changes over a minute. And as long as ours in all: it is no less noisy.
    let half = Duration::from_secs(options.seconds.div_ceil(2));
    let before = floor::measure(shape.subscribers, shape.rate(), half)?;
    let ours = ours(options, shape, &plan, true)?;
    report("ours", &ours);
    let mixed = match options.no_mixed {
        true => None,
        false => Some(self::ours(options, shape, &Plan { sizes: Sizes::Camera, ..plan }, true)?),
    };
    mixed.iter().for_each(|mixed| report("ours, camera's sizes", mixed));
    let prompt = match shape.with_prompt {
        true => Some(self::ours(options, shape, &plan, false)?),
        false => None,
    };
    prompt.iter().for_each(|prompt| report("ours, nothing gathered", prompt));
    let floor = (before + floor::measure(shape.subscribers, shape.rate(), half)?) / 2.0;
    eprintln!("  {:22} {floor:6.2} CPU s per million packets", "floor");
    let janus = match shape.with_janus && !options.no_janus && janus::is_installed() {
        true => Some(theirs(shape, &plan)?),
        false => None,
    };
    janus.iter().for_each(|janus| report("Janus", janus));
    let cost = ours.outcome.cost();
    let ratio_janus = janus.as_ref().map(|janus| cost / janus.outcome.cost());
    eprintln!(
        "  {:.2} x the floor{}",
        cost / floor,
        match ratio_janus {
            Some(ratio) => format!(", 1/{:.1} of Janus", 1.0 / ratio),
            None => String::new(),
        }
    );
    Ok(json!({
        "pubs": shape.publishers,
        "subs": shape.subscribers,
        "ours": round(cost),
        "floor": round(floor),
        "janus": janus.as_ref().map(|janus| round(janus.outcome.cost())),
        "ratio_floor": round(cost / floor),
        "ratio_janus": ratio_janus.map(round),
        "lost": ours.outcome.lost,
        "p50_us": ours.outcome.p50.round(),
        "p99_us": ours.outcome.p99.round(),
        "kb_per_peer": ours.kb_per_peer.round(),
        "packets_per_second": ours.outcome.packets_per_second().round(),
        "core": round(ours.outcome.cpu.as_secs_f64() / ours.outcome.seconds),
        "mixed": mixed.as_ref().map(|mixed| round(mixed.outcome.cost())),
        "mixed_lost": mixed.as_ref().map(|mixed| mixed.outcome.lost),
        "prompt": prompt.as_ref().map(|prompt| round(prompt.outcome.cost())),
        "prompt_p50_us": prompt.as_ref().map(|prompt| prompt.outcome.p50.round()),
        "prompt_p99_us": prompt.as_ref().map(|prompt| prompt.outcome.p99.round()),
        "janus_lost": janus.as_ref().map(|janus| janus.outcome.lost),
        "janus_p50_us": janus.as_ref().map(|janus| janus.outcome.p50.round()),
    }))
}

fn ours(options: &Options, shape: Shape, plan: &Plan, gather: bool) -> Result<Measured> {
    let server = greenroom::Server::start(&options.server, gather)?;
    server.open_room("forward")?;
    // What is loaded with the first guest is not a guest's.
    server.lobby("forward")?.join(greenroom::Guest::Publisher)?.leave()?;
    let before = process::memory(server.pid())?;
    let mut room = server.fill("forward", shape.publishers, shape.subscribers)?;
    let outcome = load::run(&mut room, plan, server.pid())?;
    finish(shape, outcome, process::memory(server.pid())?.saturating_sub(before))
}

fn theirs(shape: Shape, plan: &Plan) -> Result<Measured> {
    let server = janus::Server::start()?;
    let before = process::memory(server.pid())?;
    let mut room = server.fill(1_000, shape.publishers, shape.subscribers)?;
    let outcome = load::run(&mut room, plan, server.pid())?;
    finish(shape, outcome, process::memory(server.pid())?.saturating_sub(before))
}

fn finish(shape: Shape, outcome: Outcome, memory: u64) -> Result<Measured> {
    let peers = (shape.publishers + shape.subscribers) as f64;
    Ok(Measured { outcome, kb_per_peer: memory as f64 / 1000.0 / peers })
}

fn report(who: &str, measured: &Measured) {
    let Measured { outcome, kb_per_peer } = measured;
    eprintln!(
        "  {who:22} {:6.2} CPU s per million packets; {:.2} core, {:.0} packets/s of {} streams, lost {}, \
         delay p50 {:.0} p99 {:.0} us, {kb_per_peer:.0} kB per peer; load generator {:.2} core{}{}",
        outcome.cost(),
        outcome.cpu.as_secs_f64() / outcome.seconds,
        outcome.packets_per_second(),
        outcome.streams,
        outcome.lost,
        outcome.p50,
        outcome.p99,
        outcome.load_cpu.as_secs_f64() / (outcome.seconds + WARM_UP.as_secs_f64()),
        match outcome.undecryptable {
            0 => String::new(),
            count => format!("; {count} samples did not decrypt"),
        },
        match outcome.other {
            0 => String::new(),
            count => format!("; {count} repairs and probes"),
        },
    );
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

const CHURN: usize = 1000;
/// Keyframes, estimates and tables reach their steady state.
const WARM_UP: Duration = Duration::from_secs(4);
