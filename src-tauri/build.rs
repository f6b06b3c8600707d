//! Tauri's own build step: checks `tauri.conf.json` and the icon.
fn main() {
    tauri_build::build();
}
