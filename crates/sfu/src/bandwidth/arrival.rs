//! Packets that left together, and how the distance between such groups changed on the way
//! (draft-ietf-rmcat-gcc-02 §5.1, §5.2).

use super::Micros;

/// How far two neighbouring groups were apart when they left and when they arrived, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    pub sent: i64,
    pub arrived: i64,
    /// When the later group was complete, on the receiver's clock.
    pub at: i64,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrived: i64,
    last_arrived: i64,
}

#[derive(Debug, Default)]
pub struct ArrivalGroups {
    current: Option<Group>,
    previous: Option<Group>,
}

impl ArrivalGroups {
    /// A packet, in the order it was sent. Answers the spacing of the two groups before it when it begins a new one.
    pub fn note(&mut self, sent_at: Micros, arrived_at: i64) -> Option<Spacing> {
        let sent_at = sent_at as i64;
        let new = Group {
            first_sent: sent_at,
            last_sent: sent_at,
            first_arrived: arrived_at,
            last_arrived: arrived_at,
        };
        let Some(current) = &mut self.current else {
            self.current = Some(new);
            return None;
        };
        if sent_at < current.first_sent {
            return None;
        }
        if !current.ends_before(&new) {
            current.last_sent = current.last_sent.max(sent_at);
            current.last_arrived = arrived_at;
            return None;
        }
        let complete = *current;
        *current = new;
        let previous = self.previous.replace(complete)?;
        let arrived = complete.last_arrived.checked_sub(previous.last_arrived)?;
        // Groups overtake each other on some paths, and a clock may be set.
        let is_plausible = (0..=MAX_SPACING).contains(&arrived);
        is_plausible.then_some(Spacing {
            sent: complete.last_sent - previous.last_sent,
            arrived,
            at: complete.last_arrived,
        })
    }
}

impl Group {
    /// Whether `next`, a group of one packet yet, is not of this one: it left more than [`GROUP`] after this one's
    /// first packet, and did not catch up with it on the way. A queue in the path (a radio's, waiting for its turn)
    /// sends on in bursts what came apart; their inner distances say nothing.
    fn ends_before(&self, next: &Group) -> bool {
        let sent = next.first_sent - self.last_sent;
        let arrived = next.first_arrived.saturating_sub(self.last_arrived);
        let caught_up = arrived < sent
            && (-GROUP..=GROUP).contains(&arrived)
            && next.first_arrived.saturating_sub(self.first_arrived) < MAX_BURST;
        sent != 0 && !caught_up && next.first_sent - self.first_sent > GROUP
    }
}

const GROUP: i64 = 5_000;
const MAX_BURST: i64 = 100_000;
/// Beyond this it was a pause, not a queue.
const MAX_SPACING: i64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_one_moment_are_one_group() {
        let mut groups = ArrivalGroups::default();
        let mut found = Vec::new();
        // Three frames of three packets, 20 ms apart, each on the way 1 ms longer than the one before.
        for frame in 0..3i64 {
            for packet in 0..3i64 {
                let sent = 1_000_000 + frame * 20_000 + packet * 500;
                found.extend(groups.note(sent as u64, 5_000 + sent + frame * 1_000 + packet * 100));
            }
        }
        found.extend(groups.note(1_060_000, 1_068_000));
        let spacing = |at| Spacing { sent: 20_000, arrived: 21_000, at };
        assert_eq!(found, [spacing(1_027_200), spacing(1_048_200)]);
    }

    #[test]
    fn what_was_sent_apart_and_comes_in_one_burst_is_one_group() {
        let mut groups = ArrivalGroups::default();
        for n in 0..4u64 {
            assert_eq!(groups.note(n * 10_000, 100_000 + n as i64 * 200), None);
        }
        assert_eq!(groups.note(60_000, 160_000), None, "the second group");
        assert_eq!(
            groups.note(80_000, 180_000),
            Some(Spacing { sent: 30_000, arrived: 59_400, at: 160_000 })
        );
    }

    #[test]
    fn a_clock_set_back_is_survived() {
        let mut groups = ArrivalGroups::default();
        let mut at = 1_000_000_000i64;
        for n in 0..100u64 {
            at = if n == 50 { i64::MIN / 4 } else { at + 20_000 };
            let spacing = groups.note(n * 20_000, at);
            assert_eq!(spacing.is_some(), n > 1 && n != 51, "{n}");
        }
    }
}
