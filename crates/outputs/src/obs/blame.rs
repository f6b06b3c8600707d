//! Which feed keeps killing the worker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use wire::link::FeedId;

/// Remembers the last deaths for which a feed was named.
#[derive(Debug, Default)]
pub(super) struct Blame {
    deaths: VecDeque<(Instant, FeedId)>,
}

impl Blame {
    /// Notes a death; true when this feed has now killed [`DEATHS`] workers within [`WINDOW`].
    pub fn on_death(&mut self, now: Instant, feed: FeedId) -> bool {
        self.deaths.push_back((now, feed));
        while self.deaths.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.deaths.pop_front();
        }
        if self.deaths.iter().filter(|(_, by)| *by == feed).count() < DEATHS {
            return false;
        }
        self.deaths.retain(|(_, by)| *by != feed);
        true
    }
}

const DEATHS: usize = 3;
/// Also one that needs minutes to do it again is given up.
const WINDOW: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_deaths_within_ten_minutes_condemn_a_feed_and_no_other() {
        let mut blame = Blame::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!blame.on_death(at(0), 1));
        assert!(!blame.on_death(at(10), 2));
        assert!(!blame.on_death(at(590), 1));
        // The first one is too long ago by now.
        assert!(!blame.on_death(at(601), 1));
        assert!(!blame.on_death(at(602), 2));
        assert!(blame.on_death(at(603), 1));
    }
}
