//! Who is in which slot, for the list in the properties: asked by a thread of its own, so that OBS never waits.

use frame_ipc::{SlotInfo, SlotState, default_socket_path, list_slots};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Ends when dropped.
pub struct Directory {
    /// A lock, because a list cannot be swapped atomically; held for a clone, never while asking.
    slots: Arc<Mutex<Arc<[SlotInfo]>>>,
    /// One place: when full, the thread is about to ask anyway.
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Directory {
    pub fn start() -> std::io::Result<Self> {
        let slots: Arc<Mutex<Arc<[SlotInfo]>>> = Arc::new(Mutex::new(Arc::new([])));
        let (ask, asked) = sync_channel(1);
        let found = slots.clone();
        let thread = std::thread::Builder::new().name("greenroom-list".into()).spawn(move || {
            let mut curious_until = Instant::now();
            loop {
                // While a dialog may be open the list is kept fresh; else it rests until somebody asks.
                let patience = if Instant::now() < curious_until { REFRESH } else { Duration::MAX };
                match asked.recv_timeout(patience) {
                    Ok(()) => curious_until = Instant::now() + CURIOSITY,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                // An engine that is away leaves the last list, so that the dialog still has names for slots.
                if let Ok(list) = default_socket_path().and_then(|path| list_slots(&path, ANSWER)) {
                    *found.lock().unwrap_or_else(PoisonError::into_inner) = list.into();
                }
            }
        })?;
        Ok(Self { slots, ask: Some(ask), thread: Some(thread) })
    }

    /// Somebody may want the list soon.
    pub fn ask(&self) {
        if let Some(ask) = &self.ask {
            match ask.try_send(()) {
                Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }

    /// What was known last; asks again for the next time.
    pub fn slots(&self, chosen: u8) -> Vec<SlotInfo> {
        self.ask();
        let known = self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        with_chosen(&known, chosen)
    }
}

/// The list must hold what is chosen, or the dialog would choose something else.
fn with_chosen(known: &[SlotInfo], chosen: u8) -> Vec<SlotInfo> {
    let empty = |slot| SlotInfo { slot, state: SlotState::default() };
    let mut slots: Vec<_> =
        if known.is_empty() { (1..=UNKNOWN).map(empty).collect() } else { known.to_vec() };
    if !slots.iter().any(|info| info.slot == chosen) {
        slots.push(empty(chosen));
    }
    slots
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const REFRESH: Duration = Duration::from_secs(1);
const CURIOSITY: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_millis(300);
/// How many slots to offer while no engine says.
const UNKNOWN: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_always_holds_what_is_chosen() {
        let known =
            [SlotInfo { slot: 1, state: SlotState { occupant: Some("Ada".into()), ..SlotState::default() } }];
        let labels = |known: &[SlotInfo], chosen| -> Vec<String> {
            with_chosen(known, chosen).iter().map(SlotInfo::label).collect()
        };
        assert_eq!(labels(&known, 1), ["Guest 1 — Ada"]);
        assert_eq!(labels(&known, 12), ["Guest 1 — Ada", "Guest 12"]);
        assert_eq!(labels(&[], 3).len(), 8);
    }
}
