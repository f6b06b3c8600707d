//! The streamer's headphones: how loud each guest is heard there, and the process that plays them.
//!
//! The audio thread mixes and never waits; a thread of its own keeps the process, which may hang or die, and is told
//! nothing but what is wanted. See `wire::monitor`.

mod mix;
mod process;

pub use mix::{Heard, Mixer};

use crate::link::Link;
use crate::locked;
use process::Keeper;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use wire::PeerId;
use wire::link::FromWorker;
use wire::monitor::{Hearing, MonitorReport, Monitoring};

/// Says what is wanted, and how it goes.
#[derive(Clone)]
pub struct Monitor(Arc<Shared>);

/// Between the thread that follows the engine's orders, the audio thread and the one that keeps the process. Locks,
/// each held for a few instructions or for one write that does not wait.
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    /// Of guests who are not heard as they are.
    gains: Mutex<HashMap<PeerId, f32>>,
    /// Where the mix goes. `None`: nobody plays it, and nothing is mixed.
    pipe: Mutex<Option<ChildStdin>>,
    report: Mutex<MonitorReport>,
}

#[derive(Default)]
struct Wanted {
    monitoring: Monitoring,
    /// How often it changed.
    generation: u64,
}

impl Monitor {
    /// `program`: where `greenroom-monitor` is. It is started when monitoring is wanted.
    pub fn start(program: PathBuf, link: Arc<Link>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            wanted: Mutex::default(),
            changed: Condvar::new(),
            gains: Mutex::default(),
            pipe: Mutex::default(),
            report: Mutex::default(),
        });
        let monitor = Self(shared);
        let keeper = Keeper { program, monitor: monitor.clone(), link };
        thread::Builder::new().name("monitor".into()).spawn(move || keeper.run())?;
        Ok(monitor)
    }

    /// What the audio thread mixes with.
    pub fn mixer(&self) -> Mixer {
        Mixer::new(self.0.clone())
    }

    pub fn set(&self, monitoring: Monitoring) {
        let mut wanted = locked(&self.0.wanted);
        wanted.monitoring = monitoring;
        wanted.generation += 1;
        self.0.changed.notify_all();
    }

    pub fn set_hearing(&self, peer: PeerId, hearing: Hearing) {
        let mut gains = locked(&self.0.gains);
        if hearing == Hearing::default() {
            gains.remove(&peer);
        } else {
            gains.insert(peer, hearing.gain());
        }
    }

    /// Tells the engine how it goes. Said again with every report: a message may find no room.
    pub fn tell(&self, link: &Link) {
        link.tell(&FromWorker::Monitor(locked(&self.0.report).clone()));
    }

    fn wanted(&self) -> (Monitoring, u64) {
        let wanted = locked(&self.0.wanted);
        (wanted.monitoring.clone(), wanted.generation)
    }

    /// Returns when something else is wanted than in `generation`, or after `patience`.
    fn wait_for_change(&self, generation: u64, patience: Duration) {
        let wanted = locked(&self.0.wanted);
        let same = |wanted: &mut Wanted| wanted.generation == generation;
        let waited = self.0.changed.wait_timeout_while(wanted, patience, same);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
