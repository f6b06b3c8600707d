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
}

#[derive(Clone, Copy, ValueEnum)]
enum Benchmark {
    /// From a pixel drawn in the guest's browser to OBS and to its output.
    Glass,
    /// From opening the link to the first frame in OBS.
    Join,
    /// Chromium to Chromium with loss, delay and a rate cap. Needs root (network namespaces).
    Impair,
}

impl Benchmark {
    fn script(self) -> &'static str {
        match self {
            Benchmark::Glass => "bench/glass.mjs",
            Benchmark::Join => "bench/join.mjs",
            Benchmark::Impair => "bench/impair.mjs",
        }
    }
}

pub fn run(options: Options) -> Result<()> {
    packages::install(&packages::everything())?;
    build::pages()?;
    build::programs(Profile::Release, Programs::Headless)?;
    let instruments: &[&str] = match options.what {
        // The probe that reads a slot as the plugin does.
        Benchmark::Glass | Benchmark::Join => &["-p", "greenroom-frame-ipc", "--examples"],
        Benchmark::Impair => &["-p", "greenroom-testkit", "--bin", "impaired-link"],
    };
    let build = ["build", "--locked", "--release"].iter().chain(instruments).copied();
    step("Building the instruments", &mut command("cargo", build))?;
    build::node_packages("tests")?;
    let mut node = command("node", [options.what.script()]);
    if options.json {
        node.arg("--json");
    }
    node.current_dir(root().join("tests"))
        .env("GREENROOM_BIN_DIR", target_dir().join(Profile::Release.folder()));
    step("Measuring", &mut node)
}
