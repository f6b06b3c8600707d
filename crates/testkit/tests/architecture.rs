//! Holds the dependency arrows of ARCHITECTURE.md against what cargo knows.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// What each member may use of the others. A new arrow is a design decision: change ARCHITECTURE.md in the same commit.
const ARROWS: &[(&str, &[&str])] = &[
    ("greenroom-wire", &[]),
    ("greenroom-rtp", &[]),
    ("greenroom-prefetch", &[]),
    ("greenroom-frame-ipc", &[]),
    ("greenroom-rooms", &["greenroom-wire"]),
    ("greenroom-sfu", &["greenroom-wire", "greenroom-rtp", "greenroom-prefetch"]),
    ("greenroom-signaling", &["greenroom-wire", "greenroom-rooms"]),
    ("greenroom-operations", &["greenroom-wire"]),
    ("greenroom-outputs", &["greenroom-wire"]),
    ("greenroom-media", &["greenroom-wire", "greenroom-rtp", "greenroom-frame-ipc"]),
    ("greenroom-monitor", &["greenroom-wire"]),
    ("greenroom-obs-plugin", &["greenroom-frame-ipc"]),
    (
        "greenroom-studio",
        &[
            "greenroom-wire",
            "greenroom-sfu",
            "greenroom-rooms",
            "greenroom-signaling",
            "greenroom-operations",
            "greenroom-outputs",
            "greenroom-frame-ipc",
        ],
    ),
    ("greenroom", &["greenroom-studio"]),
    ("greenroom-testkit", &["greenroom-rtp"]),
    ("xtask", &[]),
];

/// Who alone may use an outside crate directly.
const OWNERS: &[(&str, &str)] = &[
    ("tauri", "greenroom"),
    ("axum", "greenroom-signaling"),
    ("ffmpeg-the-third", "greenroom-media"),
    ("opus", "greenroom-media"),
    ("cpal", "greenroom-monitor"),
    ("rtc-dtls", "greenroom-sfu"),
    ("rtc-shared", "greenroom-sfu"),
    ("sctp-proto", "greenroom-sfu"),
    ("reqwest", "greenroom-operations"),
    ("rusqlite", "greenroom-studio"),
    ("quinn-udp", "greenroom-studio"),
];

/// Crates that never do input or output, and so never need these.
const PURE: &[&str] = &["greenroom-wire", "greenroom-rtp", "greenroom-sfu", "greenroom-rooms"];
const IMPURE_LIBRARIES: &[&str] = &["tokio", "mio", "rustix", "libc", "quinn-udp"];

/// What must never run inside OBS: codecs, networks, TLS, async runtimes.
const NOT_IN_OBS: &[&str] =
    &["tokio", "mio", "rustls", "ring", "aws-lc-rs", "ffmpeg-the-third", "opus", "serde_json"];

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let members = members();
    let names: BTreeSet<&str> = members.keys().map(String::as_str).collect();
    assert_eq!(names, ARROWS.iter().map(|(name, _)| *name).collect(), "a member is missing from ARROWS");
    for (name, allowed) in ARROWS {
        for used in members[*name].iter().filter(|used| names.contains(used.as_str())) {
            assert!(allowed.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
}

#[test]
fn heavy_crates_have_one_owner() {
    for (member, uses) in members() {
        for (library, owner) in OWNERS {
            assert!(
                !uses.contains(*library) || member == *owner,
                "{member} uses {library}, which belongs to {owner}"
            );
        }
        if PURE.contains(&member.as_str()) {
            for library in IMPURE_LIBRARIES {
                assert!(!uses.contains(*library), "{member} is pure and must not use {library}");
            }
        }
    }
}

#[test]
fn nothing_heavy_runs_inside_obs() {
    let metadata = metadata(false);
    let nodes: BTreeMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let normal =
                node["deps"].as_array().unwrap().iter().filter(|dep| {
                    dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
                });
            (node["id"].as_str().unwrap(), normal.map(|dep| dep["pkg"].as_str().unwrap()).collect())
        })
        .collect();
    let id = |name: &str| {
        let packages = metadata["packages"].as_array().unwrap();
        packages.iter().find(|p| p["name"] == name).unwrap()["id"].as_str().unwrap()
    };
    let mut reached = BTreeSet::new();
    let mut open = vec![id("greenroom-obs-plugin")];
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(&nodes[next]);
        }
    }
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(
            !(reached.contains(package["id"].as_str().unwrap()) && NOT_IN_OBS.contains(&name)),
            "{name} would be loaded into OBS"
        );
    }
}

#[test]
fn pure_crates_are_linted_for_clocks_and_sockets() {
    for name in PURE {
        let folder = name.strip_prefix("greenroom-").unwrap();
        let lints = std::fs::read_to_string(root().join("crates").join(folder).join("clippy.toml")).unwrap();
        for method in ["Instant::now", "SystemTime::now", "UdpSocket::bind", "thread::spawn"] {
            assert!(lints.contains(method), "crates/{folder}/clippy.toml must forbid {method}");
        }
    }
}

/// Each member's direct dependencies, those for tests left out.
fn members() -> BTreeMap<String, BTreeSet<String>> {
    let uses = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap();
        let normal = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
        normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    let metadata = metadata(true);
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), uses(package))).collect()
}

fn metadata(members_only: bool) -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]).current_dir(root());
    if members_only {
        cargo.arg("--no-deps");
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}
