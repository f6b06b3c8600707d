//! How long packets wait in queues on their way here: what they take beyond the fastest of the last seconds.

use rtp::ext::AbsSendTime;

/// Of one transport. The clocks at both ends need not agree, only run equally fast: what they drift apart in a window is
/// less than a millisecond.
#[derive(Debug, Default)]
pub(super) struct Queueing {
    last: Option<Sample>,
    window_began_ns: u64,
    /// Of this window and the one before.
    fastest_ns: [i64; 2],
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    arrival_ns: u64,
    sent: AbsSendTime,
    /// On the way, beyond the very first packet.
    took_ns: i64,
}

impl Queueing {
    /// What this packet waited.
    pub fn note(&mut self, arrival_ns: u64, sent: AbsSendTime) -> u64 {
        let before = self.last.filter(|last| arrival_ns.abs_diff(last.arrival_ns) < LONGEST_SILENCE_NS);
        let took_ns = before.map_or(0, |last| {
            let arrived_later = arrival_ns as i64 - last.arrival_ns as i64;
            last.took_ns.saturating_add(arrived_later - sent.since_ns(last.sent))
        });
        if before.is_none() {
            (self.fastest_ns, self.window_began_ns) = ([took_ns; 2], arrival_ns);
        } else if arrival_ns.saturating_sub(self.window_began_ns) > WINDOW_NS {
            (self.fastest_ns, self.window_began_ns) = ([took_ns, self.fastest_ns[0]], arrival_ns);
        }
        self.fastest_ns[0] = self.fastest_ns[0].min(took_ns);
        self.last = Some(Sample { arrival_ns, sent, took_ns });
        took_ns.saturating_sub(self.fastest_ns[0].min(self.fastest_ns[1])).unsigned_abs()
    }
}

const WINDOW_NS: u64 = 4_000_000_000;
/// Send times say nothing of differences beyond half of their 64 s.
const LONGEST_SILENCE_NS: u64 = 20_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn waited_ms(queueing: &mut Queueing, sent_ms: u64, took_ms: u64) -> f64 {
        let waited =
            queueing.note(1_000_000 * MS + (sent_ms + took_ms) * MS, AbsSendTime::from_ns(sent_ms * MS));
        waited as f64 / 1e6
    }

    fn is(waited: f64, expected: f64) -> bool {
        (waited - expected).abs() < 0.1
    }

    #[test]
    fn a_wait_is_what_is_beyond_the_fastest() {
        let mut queueing = Queueing::default();
        assert!(is(waited_ms(&mut queueing, 0, 40), 0.0));
        assert!(is(waited_ms(&mut queueing, 20, 90), 50.0));
        assert!(is(waited_ms(&mut queueing, 40, 35), 0.0));
        assert!(is(waited_ms(&mut queueing, 50, 40), 5.0));
        // One that was overtaken.
        assert!(is(waited_ms(&mut queueing, 45, 41), 6.0));
    }

    #[test]
    fn send_times_begin_anew_every_64_seconds_and_a_slower_path_is_got_used_to() {
        let mut queueing = Queueing::default();
        for n in 0..13_000 {
            let took = if n < 10_000 { 30 } else { 80 };
            let waited = waited_ms(&mut queueing, n * 10, took);
            let expected = if (10_000..10_800).contains(&n) { 50.0 } else { 0.0 };
            let is_turning = (10_390..10_810).contains(&n);
            assert!(is(waited, expected) || is_turning, "{n}: {waited}");
        }
    }

    #[test]
    fn nothing_is_compared_across_a_silence_or_believed_of_a_liar() {
        let mut queueing = Queueing::default();
        waited_ms(&mut queueing, 0, 30);
        assert!(is(waited_ms(&mut queueing, 40_000, 300), 0.0));
        // Whatever is said, the answer is a number.
        for n in 0..100_000u64 {
            let sent = AbsSendTime((n.wrapping_mul(2_654_435_761) >> 3) as u32 & 0xff_ffff);
            queueing.note(n * 19_000 * MS, sent);
        }
        queueing.note(u64::MAX, AbsSendTime(0));
        queueing.note(0, AbsSendTime(0xff_ffff));
    }
}
