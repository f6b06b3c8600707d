//! Which forwarding worker a new room goes to.

use std::time::{Duration, Instant};

/// How much one worker has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Of its core, over the last second; from 0 to 100.
    pub busy_percent: u32,
    pub rooms: usize,
}

/// The least busy one; among equals, within [`STEP`], that with the fewest rooms, then the first. Rooms are counted
/// too because a room that has only begun costs nothing yet. `loads` is not empty.
pub fn least_loaded(loads: impl IntoIterator<Item = Load>) -> usize {
    let weight = |load: Load| (load.busy_percent / STEP, load.rooms);
    let weighed = loads.into_iter().map(weight).enumerate();
    weighed.min_by_key(|(_, weight)| *weight).map_or(0, |(index, _)| index)
}

/// Turns the processor time a thread has used so far into how busy it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauge {
    last: Option<(Instant, Duration)>,
    busy_percent: u32,
}

impl Gauge {
    /// `used`: the thread's processor time since it began. Called about once a second.
    pub fn sample(&mut self, now: Instant, used: Duration) {
        if let Some((then, before)) = self.last {
            let passed = now.saturating_duration_since(then).as_micros().max(1);
            let busy = used.saturating_sub(before).as_micros() * 100 / passed;
            self.busy_percent = busy.min(100) as u32;
        }
        self.last = Some((now, used));
    }

    pub fn busy_percent(&self) -> u32 {
        self.busy_percent
    }
}

/// Percent of a core; less than that is noise.
const STEP: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_goes_where_there_is_most_to_spare() {
        let check = |loads: &[(u32, usize)], expected| {
            let loads = loads.iter().map(|&(busy_percent, rooms)| Load { busy_percent, rooms });
            assert_eq!(least_loaded(loads), expected);
        };
        check(&[(0, 0)], 0);
        check(&[(0, 1), (0, 0), (0, 0)], 1);
        check(&[(60, 1), (10, 3)], 1);
        check(&[(2, 2), (4, 1)], 1);
        check(&[(100, 0), (100, 0)], 0);
    }

    #[test]
    fn a_thread_is_as_busy_as_its_processor_time_says() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut gauge = Gauge::default();
        gauge.sample(at(0), Duration::from_millis(5_000));
        assert_eq!(gauge.busy_percent(), 0);
        gauge.sample(at(1_000), Duration::from_millis(5_250));
        assert_eq!(gauge.busy_percent(), 25);
        gauge.sample(at(2_000), Duration::from_millis(5_250));
        assert_eq!(gauge.busy_percent(), 0);
    }
}
