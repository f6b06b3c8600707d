//! Building the pages and the programs.

use crate::shell::{command, root, step, succeeds};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the programs are compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build; what the tests use.
    Development,
    /// What the streamer runs.
    Release,
}

impl Profile {
    pub fn folder(self) -> &'static str {
        match self {
            Profile::Development => "debug",
            Profile::Release => "release",
        }
    }

    fn flag(self) -> &'static [&'static str] {
        match self {
            Profile::Development => &[],
            Profile::Release => &["--release"],
        }
    }
}

/// Which programs are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// The engine, the media worker, the monitor and the OBS plugin.
    Headless,
    /// Those and the desktop app.
    All,
}

impl Programs {
    /// As cargo's arguments: every crate that they are made of.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Programs::All => &["--workspace"],
            Programs::Headless => &["--workspace", "--exclude", "greenroom"],
        }
    }
}

/// Node packages of a folder, installed exactly as its lock file says; skipped when they already are.
pub fn node_packages(folder: &str) -> Result<()> {
    if !succeeds(Command::new("npm").arg("--version")) {
        bail!("npm is missing: install Node.js 20 or newer and run this again");
    }
    let folder = root().join(folder);
    let stamp = folder.join("node_modules/.installed");
    let lock = fs::read(folder.join("package-lock.json")).context("no package-lock.json")?;
    if fs::read(&stamp).is_ok_and(|done| done == lock) {
        return Ok(());
    }
    let mut npm = command("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    step(&format!("Installing Node packages of {}", folder.display()), npm.current_dir(&folder))?;
    fs::write(stamp, lock).context("cannot note that the Node packages are installed")
}

/// The guest page and the dashboard; skipped when nothing changed since the last build.
pub fn pages() -> Result<()> {
    node_packages("ui")?;
    let ui = root().join("ui");
    let built = ui.join("dist/.built");
    let newest = newest_source(&ui)?;
    if fs::metadata(&built).and_then(|m| m.modified()).is_ok_and(|at| at > newest) {
        return Ok(());
    }
    step("Building the pages", command("npm", ["run", "build"]).current_dir(&ui))?;
    fs::write(built, "").context("cannot note that the pages are built")
}

/// The newest change below `ui/`, leaving out what is made from it.
fn newest_source(ui: &Path) -> Result<std::time::SystemTime> {
    let mut newest = std::time::SystemTime::UNIX_EPOCH;
    let mut folders: Vec<PathBuf> = vec![ui.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            if name == "dist" || name == "node_modules" {
                continue;
            }
            let meta = entry.metadata()?;
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                newest = newest.max(meta.modified()?);
            }
        }
    }
    Ok(newest)
}

/// The programs themselves. Pages first: release builds carry them inside.
pub fn programs(profile: Profile, programs: Programs) -> Result<()> {
    let mut cargo = command("cargo", ["build", "--locked"]);
    cargo.args(profile.flag());
    cargo.args(["-p", "greenroom-studio", "-p", "greenroom-media", "-p", "greenroom-monitor"]);
    cargo.args(["-p", "greenroom-obs-plugin"]);
    if programs == Programs::All {
        // `custom-protocol` makes the window load the built pages instead of a development server.
        cargo.args(["-p", "greenroom"]);
    }
    step("Building the programs", &mut cargo)
}

/// The programs for development, and with them all tests, examples and instruments: in one go, because what a test asks of
/// a library (a feature of tokio) would otherwise have that library, and all that stand on it, built once more for the tests.
pub fn programs_and_tests(programs: Programs) -> Result<()> {
    let mut cargo = command("cargo", ["build", "--locked", "--all-targets"]);
    step("Building the programs and their tests", cargo.args(programs.packages()))
}

/// The TypeScript twins of `crates/wire`.
pub fn wire_types() -> Result<()> {
    step(
        "Writing the TypeScript types",
        &mut command("cargo", ["test", "--quiet", "-p", "greenroom-wire", "export_bindings"]),
    )
}
