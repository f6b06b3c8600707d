//! Greenroom guests as OBS sources.
//!
//! A source belongs to a *slot*, or follows what the streamer chose (the active speaker, a shared screen, somebody by
//! name); who that is, the engine knows. Its one thread ([`reader`]) takes pictures and sound out of the engine's shared
//! memory and gives them to libobs; [`away`] decides what stands there meanwhile. There is no
//! codec, no network and no lock shared with that thread on any OBS thread, and no panic of ours reaches C.
#![deny(unsafe_code)]
// The unit tests run without libobs: what only it calls is unused there.
#![cfg_attr(test, allow(dead_code))]

pub mod away;
mod glide;
pub mod reader;
pub mod settings;
pub mod slate;
pub mod sound;
pub mod timing;

pub mod source;

mod directory;
mod font;

#[cfg(not(test))]
mod ffi;

/// As in `data/VERSION` and `data/manifest.json`: how the app knows an outdated plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    #[test]
    fn the_data_names_this_version() {
        let version = format!("\"version\": \"{}\"", super::VERSION);
        assert_eq!(include_str!("../data/VERSION").trim(), super::VERSION);
        assert!(include_str!("../data/manifest.json").contains(&version));
    }
}
