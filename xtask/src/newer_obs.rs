//! `cargo xtask newer-obs`: the plugin's end-to-end tests in the OBS of the next Debian, in a system inside a folder.

use crate::build::{self, Profile, Programs};
use crate::packages;
use crate::shell::{command, is_root, root, step, target_dir};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Options {
    /// Only those of the test files whose names contain this.
    name: Option<String>,
    /// Make the newer system again, as Debian's archive has it now.
    #[arg(long)]
    fresh: bool,
}

pub fn run(options: Options) -> Result<()> {
    if !is_root() {
        bail!("a Debian inside a folder needs root (chroot, bind mounts): run this as root");
    }
    let files: Vec<_> =
        FILES.iter().filter(|file| file.contains(options.name.as_deref().unwrap_or(""))).collect();
    if files.is_empty() {
        bail!("none of {} has that in its name", FILES.join(", "));
    }
    packages::install(&[packages::BUILD, packages::DESKTOP, packages::TESTS, packages::NEWER_OBS])?;
    let system = kept()?;
    if options.fresh && system.exists() {
        fs::remove_dir_all(&system).with_context(|| format!("cannot remove {}", system.display()))?;
    }
    if !system.exists() {
        make(&system)?;
    }
    build::pages()?;
    build::node_packages("tests")?;
    // As for `cargo xtask test`, which then finds them built.
    build::programs_and_tests(Programs::All)?;
    let mut node = command("node", ["--test", "--test-concurrency=1", "--test-reporter=spec"]);
    node.args(files)
        .current_dir(root().join("tests"))
        .env("GREENROOM_BIN_DIR", target_dir().join(Profile::Development.folder()))
        .env("GREENROOM_TEST_OBS_ROOT", &system);
    step(&format!("End to end in the OBS of Debian {NEWER}"), &mut node)
}

/// Where the newer system stays between runs: outside the checkout, as it takes minutes to make and is no part of it.
fn kept() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = match cache {
        Some(folder) => folder,
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("greenroom/newer-obs"))
}

/// OBS with what it needs to draw without a graphics card, and nothing else. Only a whole system gets the final name.
fn make(system: &Path) -> Result<()> {
    let unfinished = system.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    let mut debian = command(
        "mmdebstrap",
        ["--variant=apt", "--aptopt=APT::Install-Recommends \"false\"", PACKAGES, NEWER],
    );
    debian.arg(&unfinished).args(mirror());
    step("Making a newer Debian with OBS in it (downloads about 300 MB, once)", &mut debian)?;
    fs::rename(&unfinished, system).with_context(|| format!("cannot name {}", system.display()))
}

/// The Debian archive this system installs from. `None` where that is not Debian's: then mmdebstrap's own choice.
fn mirror() -> Option<String> {
    let format = "$(ORIGIN) $(LABEL) $(REPO_URI)";
    let out =
        command("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]).output().ok()?;
    let lines = String::from_utf8(out.stdout).ok()?;
    lines.lines().find_map(|line| line.strip_prefix("Debian Debian ").map(str::to_owned))
}

/// Debian 13, with OBS 30.2.
const NEWER: &str = "trixie";
const PACKAGES: &str = "--include=obs-studio,obs-plugins,libgl1-mesa-dri,libglx-mesa0,libegl1";
/// Those in which OBS itself matters: loading, picture, colours, sound, steering.
const FILES: &[&str] = &[
    "e2e/obs-plugin.test.mjs",
    "e2e/guest-to-obs.test.mjs",
    "e2e/sources.test.mjs",
    "e2e/obs-control.test.mjs",
];
