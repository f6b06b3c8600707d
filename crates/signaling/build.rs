//! Compiles this crate again when the pages it embeds were built anew.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A debug build reads the pages from disk. A missing folder counts as always changed, which is right here:
    // the release must not keep the memory of a checkout without pages.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rerun-if-changed=../../ui/dist");
    }
}
