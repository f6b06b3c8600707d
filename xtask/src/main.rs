//! The chores: `cargo xtask run`, `cargo xtask test` and what they are made of.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod newer_obs;
mod packages;
mod run;
mod shell;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Greenroom's chores. Each command does its own set-up and can be run again at any time.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what is missing, build, install the OBS plugin for this user, start the app.
    ///
    /// Without a display the same engine starts headless and prints the dashboard's address.
    Run(run::Options),
    /// Everything CI runs: formats, lints, unit tests, licences, and the end-to-end suite.
    Test(test::Options),
    /// Install the system packages only, saying which and why.
    Setup,
    /// The plugin's tests in the OBS of Debian 13, which is kept in ~/.cache/greenroom (300 MB to download; needs root).
    NewerObs(newer_obs::Options),
    /// Measure, side by side in one run.
    Bench(bench::Options),
    /// Write the TypeScript twins of `crates/wire` again.
    Types,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Run(options) => run::run(options),
        Chore::Test(options) => test::run(options),
        Chore::Setup => packages::install(&packages::everything()),
        Chore::NewerObs(options) => newer_obs::run(options),
        Chore::Bench(options) => bench::run(options),
        Chore::Types => build::wire_types(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
