//! `cargo xtask bench`: figures, each measured beside its reference in the same run.

use crate::build::{self, Profile, Programs};
use crate::packages;
use crate::shell::{command, root, step, target_dir};
use anyhow::Result;
use clap::{Args, ValueEnum};

#[derive(Args)]
pub struct Options {
    /// What to measure.
    #[arg(value_enum)]
    what: Benchmark,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Keep all cores busy meanwhile (`sync`).
    #[arg(long)]
    busy: bool,
    /// How many (`guests`).
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=8))]
    guests: u8,
}

#[derive(Clone, Copy, ValueEnum)]
enum Benchmark {
    /// From a pixel drawn in the guest's browser to OBS and to its output.
    Glass,
    /// From opening the link to the first frame in OBS.
    Join,
    /// Chromium to Chromium with loss, delay and a rate cap. Needs root (network namespaces).
    Impair,
    /// Sound beside picture: in OBS's recordings, and over ten simulated hours.
    Sync,
    /// Six guests in the layouts that "Add to OBS" makes: the screenshots of docs/obs-sources.md, made anew.
    Layouts,
    /// What forwarding costs, beside the least it can cost and beside Janus.
    Forward,
    /// What introducing peers costs, beside a bare socket.io server.
    Signaling,
    /// What guests cost from the network to libobs, beside decoding alone.
    Guests,
}

impl Benchmark {
    /// What runs it, in `tests`; `None`: its own program does.
    fn script(self) -> Option<&'static str> {
        match self {
            Benchmark::Glass => Some("bench/glass.mjs"),
            Benchmark::Join => Some("bench/join.mjs"),
            Benchmark::Impair => Some("bench/impair.mjs"),
            Benchmark::Sync => Some("bench/sync.mjs"),
            Benchmark::Guests => Some("bench/guests.mjs"),
            Benchmark::Layouts => Some("bench/layouts.mjs"),
            Benchmark::Forward | Benchmark::Signaling => None,
        }
    }
}

pub fn run(options: Options) -> Result<()> {
    if let Benchmark::Forward = options.what {
        packages::install(&[packages::BUILD])?;
        if let Err(error) = packages::install(&[packages::COMPARISON]) {
            eprintln!("Measuring without Janus: {error:#}");
        }
    } else if let Benchmark::Signaling = options.what {
        packages::install(&[packages::BUILD])?;
        build::node_packages("tests")?;
    } else {
        packages::install(&packages::everything())?;
    }
    if let Benchmark::Glass = options.what {
        packages::install(&[packages::OTHER_ROUTE])?;
    }
    build::pages()?;
    build::programs(Profile::Release, Programs::Headless)?;
    let instruments: &[&str] = match options.what {
        // The probe that reads a slot as the plugin does.
        Benchmark::Glass | Benchmark::Join | Benchmark::Layouts => {
            &["-p", "greenroom-frame-ipc", "--examples"]
        }
        Benchmark::Sync => &["-p", "greenroom-frame-ipc", "-p", "greenroom-media", "--examples"],
        Benchmark::Impair => &["-p", "greenroom-testkit", "--bin", "impaired-link"],
        Benchmark::Forward => &["-p", "greenroom-testkit", "--bin", "forward"],
        Benchmark::Signaling => &["-p", "greenroom-testkit", "--bin", "introductions"],
        Benchmark::Guests => &[
            "-p",
            "greenroom-testkit",
            "--bin",
            "guests",
            "-p",
            "greenroom-media",
            "--example",
            "bare_decode",
        ],
    };
    let build = ["build", "--locked", "--release"].iter().chain(instruments).copied();
    step("Building the instruments", &mut command("cargo", build))?;
    let folder = target_dir().join(Profile::Release.folder());
    let mut bench = match options.what.script() {
        Some(script) => {
            build::node_packages("tests")?;
            let mut node = command("node", [script]);
            node.current_dir(root().join("tests")).env("GREENROOM_BIN_DIR", &folder);
            node
        }
        None if matches!(options.what, Benchmark::Signaling) => {
            let mut load = command(&folder.join("introductions").to_string_lossy(), ["--server"]);
            load.arg(folder.join("greenroomd")).arg("--reference");
            load.arg(root().join("tests/lib/introductions-reference.mjs"));
            load
        }
        None => {
            let mut load = command(&folder.join("forward").to_string_lossy(), ["--server"]);
            load.arg(folder.join("greenroomd"));
            load
        }
    };
    if options.busy {
        bench.arg("--busy");
    }
    if let Benchmark::Guests = options.what {
        bench.args(["--guests", &options.guests.to_string()]);
    }
    if options.json {
        bench.arg("--json");
    }
    step("Measuring", &mut bench)
}
