//! A forwarding thread's second life: after a panic it goes on with an empty state machine.
//!
//! Thread, socket (so the port), queues and media pipe stay; transports, producers and consumers are gone, and whoever
//! owned them is told by [`WorkerEvent::Restarted`](super::WorkerEvent::Restarted). The other workers notice nothing.

use super::Driver;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Runs the driver until it is told to stop, through every panic.
pub(super) fn run_through_panics(mut driver: Driver, renew: impl Fn() -> Result<sfu::Worker, sfu::Error>) {
    let mut pause = Pause::default();
    loop {
        let born = Instant::now();
        // Unwind safety: what the panic may have left half changed is the state machine, which is replaced below.
        // The socket's and the pipe's buffers are written whole before each use.
        if catch_unwind(AssertUnwindSafe(|| driver.run())).is_ok() {
            return;
        }
        driver.counters.restarts.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(pause.before_life(born.elapsed()));
        match renew() {
            Ok(sfu) => driver.begin_anew(sfu),
            Err(error) => {
                tracing::error!(%error, "a forwarding worker cannot be started again");
                return;
            }
        }
        tracing::error!("a forwarding worker failed and was started again; its guests are connecting anew");
    }
}

/// None before the first new life; a worker that fails again and again must not eat a core.
#[derive(Default)]
struct Pause(Duration);

impl Pause {
    fn before_life(&mut self, last_life: Duration) -> Duration {
        self.0 = if last_life >= HEALTHY { Duration::ZERO } else { (self.0 * 2).clamp(SHORTEST, LONGEST) };
        self.0
    }
}

/// A life this long was not begun in vain.
const HEALTHY: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_keeps_failing_is_started_ever_more_slowly() {
        let mut pause = Pause::default();
        assert_eq!(pause.before_life(HEALTHY), Duration::ZERO);
        let short = Duration::from_millis(3);
        let waits: Vec<u128> = (0..8).map(|_| pause.before_life(short).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!(pause.before_life(HEALTHY), Duration::ZERO);
    }
}
