//! `cargo xtask run`: from a fresh checkout to the app on screen.

use crate::build::{self, Profile, Programs};
use crate::packages;
use crate::shell::{command, step, succeeds, target_dir};
use anyhow::Result;
use clap::Args;

#[derive(Args)]
pub struct Options {
    /// Start the engine without a window even where there is a display.
    #[arg(long)]
    headless: bool,
    /// Build without optimisation: quicker to build, slower to run.
    #[arg(long)]
    debug: bool,
    /// Passed on to the app, e.g. `--listen 127.0.0.1:3100`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub fn run(options: Options) -> Result<()> {
    let headless = options.headless || !has_display();
    let mut groups = vec![packages::BUILD, packages::OBS];
    if !headless {
        groups.push(packages::DESKTOP);
    }
    packages::install(&groups)?;
    build::pages()?;
    let profile = if options.debug { Profile::Development } else { Profile::Release };
    build::programs(profile, if headless { Programs::Headless } else { Programs::All })?;

    let folder = target_dir().join(profile.folder());
    let engine = folder.join("greenroomd");
    let engine = engine.to_string_lossy();
    step("Installing the OBS plugin for this user", &mut command(&engine, ["--install-obs-plugin"]))?;
    if succeeds(std::process::Command::new("pgrep").args(["-x", "obs"])) {
        println!("OBS is running: restart it to load the plugin.");
    }
    if headless {
        println!("\nNo display: starting the engine without a window. Ctrl-C ends it.");
        step("Greenroom", command(&engine, ["--print-access"]).args(&options.arguments))
    } else {
        let app = folder.join("greenroom");
        step("Greenroom", &mut command(&app.to_string_lossy(), &options.arguments))
    }
}

fn has_display() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}
