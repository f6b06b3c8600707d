//! The system packages each chore needs, and why; installed with apt, never removing anything.

use crate::shell::{command, is_root, step, succeeds};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Debian packages that serve one purpose.
#[derive(Clone, Copy)]
pub struct Group {
    pub why: &'static str,
    pub packages: &'static [&'static str],
}

/// To compile the engine and the media worker.
pub const BUILD: Group = Group {
    why: "compiling: C parts of crates, FFmpeg's and ALSA's headers and the tool that reads them",
    packages: &[
        "build-essential",
        "pkg-config",
        "cmake",
        "clang",
        "libclang-dev",
        "libavcodec-dev",
        "libavformat-dev",
        "libavutil-dev",
        "libswscale-dev",
        "libswresample-dev",
        "libasound2-dev",
    ],
};

/// To compile and show the desktop window.
pub const DESKTOP: Group = Group {
    why: "the desktop window",
    packages: &["libwebkit2gtk-4.1-dev", "libgtk-3-dev", "librsvg2-dev", "libssl-dev"],
};

/// Where guests appear.
pub const OBS: Group =
    Group { why: "OBS, where your guests appear", packages: &["obs-studio", "obs-plugins"] };

/// Real clients for the end-to-end suite.
pub const TESTS: Group = Group {
    why: "the end-to-end tests: real browsers, a display without a screen, a sound service without a card, and a drawing board for pictures and sound",
    packages: &[
        "xvfb",
        "chromium",
        "firefox-esr",
        "webkit2gtk-driver",
        "ffmpeg",
        "dbus-x11",
        "iproute2",
        "iptables",
        "openssl",
        "xdotool",
        "pipewire",
        "pipewire-pulse",
        "wireplumber",
        "pulseaudio-utils",
    ],
};

/// A newer Debian in a folder.
pub const NEWER_OBS: Group = Group { why: "a newer OBS to test the plugin in", packages: &["mmdebstrap"] };

/// What our forwarding is measured against.
pub const COMPARISON: Group =
    Group { why: "the comparison: another SFU under the same load", packages: &["janus"] };

/// What the way into OBS is measured against.
pub const OTHER_ROUTE: Group = Group {
    why: "the comparison: the same picture into OBS by RTMP",
    packages: &["nginx", "libnginx-mod-rtmp"],
};

pub fn everything() -> Vec<Group> {
    vec![BUILD, DESKTOP, OBS, TESTS]
}

/// Installs what is missing of `groups`; does nothing, quickly, when all is there.
pub fn install(groups: &[Group]) -> Result<()> {
    let missing: Vec<(&str, Vec<&str>)> = groups
        .iter()
        .map(|group| {
            (group.why, group.packages.iter().copied().filter(|name| !is_installed(name)).collect::<Vec<_>>())
        })
        .filter(|(_, names)| !names.is_empty())
        .collect();
    if missing.is_empty() {
        println!("System packages: all there.");
        return Ok(());
    }
    println!("These system packages are missing:");
    for (why, names) in &missing {
        println!("  for {why}:\n    {}", names.join(" "));
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "this system has no apt-get; install the packages named above (or your system's equivalents) and run this again"
        );
    }
    let names: Vec<&str> = missing.into_iter().flat_map(|(_, names)| names).collect();
    step("Refreshing the package lists", &mut apt(&["update"])?)?;
    // --no-remove: a conflict is an error for the person to decide, never a package taken away.
    let mut arguments = vec!["install", "-y", "--no-remove", "--no-install-recommends"];
    arguments.extend(names);
    step("Installing system packages", &mut apt(&arguments)?)
}

fn is_installed(name: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", name])
        .output()
        .is_ok_and(|out| out.status.success() && out.stdout == b"installed")
}

/// apt-get as the superuser, asking nothing and starting no daemon.
fn apt(arguments: &[&str]) -> Result<Command> {
    let settings =
        ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-o", "DPkg::Lock::Timeout=300"];
    let words = settings.iter().chain(arguments).copied();
    if is_root() {
        return Ok(command("/usr/bin/env", words.skip(1)));
    }
    if !succeeds(Command::new("sudo").arg("--version")) {
        bail!("installing packages needs root: run this as root once, or install sudo");
    }
    Ok(command("sudo", words))
}
