//! What all fuzz targets share. The targets themselves are in the crates they test, where an ordinary test replays them.

use rtp::fuzzing::Target;
use std::panic;

/// Runs the target of that name.
pub fn run(targets: impl IntoIterator<Item = Target>, name: &str, data: &[u8]) {
    let (_, target) = targets.into_iter().find(|(known, _)| *known == name).expect("a target of that name");
    target(data);
}

/// A panic ends the run, but in a supplier's code: there the engine catches it, and it costs one client's connection.
pub fn quiet() {
    let ours = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_suppliers = info.location().is_some_and(|at| at.file().contains("/registry/src/"));
        if !is_suppliers {
            ours(info);
        }
    }));
}
