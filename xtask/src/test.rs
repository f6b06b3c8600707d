//! `cargo xtask test`: everything CI runs, in the order in which it fails soonest.

use crate::build::{self, Profile, Programs};
use crate::packages;
use crate::shell::{command, root, step, succeeds, target_dir};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::process::Command;
use std::time::Instant;

#[derive(Args)]
pub struct Options {
    /// Leave out the end-to-end suite, the licences and the desktop app.
    #[arg(long)]
    fast: bool,
    /// Only the end-to-end suite (or those of its files whose names contain this).
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    e2e: Option<String>,
}

pub fn run(options: Options) -> Result<()> {
    let start = Instant::now();
    packages::install(&packages::everything())?;
    // What reads dependencies offline (the tests of the architecture, cargo-deny) reads those for other systems, too.
    step("Fetching crates", &mut command("cargo", ["fetch", "--locked"]))?;
    match options.e2e {
        Some(name) => {
            build::pages()?;
            build::programs_and_tests(Programs::All)?;
            end_to_end(&name)?;
        }
        None if options.fast => checks(Programs::Headless)?,
        None => {
            checks(Programs::All)?;
            licences()?;
            end_to_end("")?;
        }
    }
    println!("\nAll passed in {:.0} s.", start.elapsed().as_secs_f64());
    Ok(())
}

fn checks(programs: Programs) -> Result<()> {
    step("Format", &mut command("cargo", ["fmt", "--all", "--check"]))?;
    build::pages()?;
    let ui = root().join("ui");
    step("Page types (svelte-check)", command("npm", ["run", "check"]).current_dir(&ui))?;
    step("Page tests (vitest)", command("npm", ["test"]).current_dir(&ui))?;
    build::programs_and_tests(programs)?;
    let selection = programs.packages();
    step(
        "Unit and integration tests",
        command("cargo", ["test", "--locked", "--no-fail-fast"]).args(selection),
    )?;
    types_are_current()?;
    step(
        "Lints (clippy)",
        command("cargo", ["clippy", "--locked", "--all-targets"])
            .args(selection)
            .args(["--", "-D", "warnings"]),
    )
}

/// `cargo test` has just written the TypeScript types anew: they must be what is committed.
fn types_are_current() -> Result<()> {
    let changed = command("git", ["status", "--porcelain", "--", "ui/src/lib/wire"])
        .output()
        .context("cannot run git")?;
    if changed.status.success() && !changed.stdout.is_empty() {
        bail!(
            "the TypeScript types are not those of crates/wire: run `cargo xtask types` and commit ui/src/lib/wire\n{}",
            String::from_utf8_lossy(&changed.stdout)
        );
    }
    Ok(())
}

fn licences() -> Result<()> {
    if !succeeds(Command::new("cargo").args(["deny", "--version"])) {
        step(
            "Installing cargo-deny",
            // Without optimisation: it is built in half the time, and is asked once.
            &mut command("cargo", ["install", "--locked", "--debug", "cargo-deny", "--version", CARGO_DENY]),
        )?;
    }
    step(
        "Licences, bans and sources (cargo-deny)",
        &mut command(
            "cargo",
            ["deny", "--offline", "--all-features", "check", "licenses", "bans", "sources"],
        ),
    )
}

fn end_to_end(name: &str) -> Result<()> {
    build::node_packages("tests")?;
    let tests = root().join("tests");
    let mut files: Vec<_> = std::fs::read_dir(tests.join("e2e"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| file.ends_with(".test.mjs") && file.contains(name))
        .map(|file| format!("e2e/{file}"))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("no end-to-end test has '{name}' in its name");
    }
    let mut node = command("node", ["--test", "--test-concurrency=1", "--test-reporter=spec"]);
    node.args(files)
        .current_dir(&tests)
        .env("GREENROOM_BIN_DIR", target_dir().join(Profile::Development.folder()));
    step("End to end: real browsers, real OBS", &mut node)
}

/// Pinned, so that a new release never changes what passes.
const CARGO_DENY: &str = "0.20.2";
