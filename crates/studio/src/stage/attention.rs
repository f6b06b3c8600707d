//! How much of each guest's picture the media worker is given: everything while OBS shows it, little while only the
//! dashboard or nobody does.

use super::Stage;
use sfu::Layers;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use wire::ortc::MediaKind;
use wire::{SlotId, TapId};

/// Which slots OBS shows, or has just shown.
#[derive(Default)]
pub(super) struct Attention {
    /// When each was seen last.
    seen: BTreeMap<SlotId, Instant>,
}

/// How much of a picture is worth its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// It is on a screen.
    Full,
    /// The dashboard's preview, and what OBS shows in the moment before the rest is there.
    Small,
    /// Nobody looks; the media worker does not even decode it.
    Least,
}

impl Attention {
    /// The media worker says which slots are on a screen; it repeats that once a second.
    pub fn on_shown(&mut self, now: Instant, slots: Vec<SlotId>) {
        self.seen.extend(slots.into_iter().map(|slot| (slot, now)));
        self.seen.retain(|_, at| now.saturating_duration_since(*at) < LINGER);
    }

    fn is_seen(&self, now: Instant, slot: SlotId) -> bool {
        self.seen.get(&slot).is_some_and(|at| now.saturating_duration_since(*at) < LINGER)
    }

    /// `slot`: where the guest is; `previewed`: somebody has the dashboard open.
    fn detail(&self, now: Instant, slot: Option<SlotId>, previewed: bool) -> Detail {
        match slot {
            Some(slot) if self.is_seen(now, slot) => Detail::Full,
            None if !previewed => Detail::Least,
            _ => Detail::Small,
        }
    }
}

impl Detail {
    /// The layers a tap takes; `None`: all.
    fn layers(self) -> Option<Layers> {
        match self {
            Self::Full => None,
            Self::Small => Some(Layers::new(0, u8::MAX)),
            Self::Least => Some(Layers::new(0, 0)),
        }
    }
}

impl Stage {
    /// Makes what taps take equal to what it is needed for: called when something was settled, and every second.
    pub(super) async fn sync_detail(&mut self) {
        let (now, previewed) = (Instant::now(), self.previews.is_watched());
        let mut news: Vec<(TapId, Detail)> = Vec::new();
        for running in self.feeds.running.values_mut().filter(|running| running.kind == MediaKind::Video) {
            let wanted = self.attention.detail(now, self.rooms.slot_of(running.peer), previewed);
            let told = std::mem::replace(&mut running.detail, wanted);
            news.extend(running.tap.filter(|_| told != wanted).map(|tap| (tap, wanted)));
        }
        for (tap, detail) in news {
            // Whose track ended meanwhile needs nothing.
            let job = self.workers.home(tap.0).call(move |sfu, _| sfu.set_tap_layers(tap, detail.layers()));
            let _ = job.await;
        }
    }
}

/// A source hidden for less than that keeps its picture, so that going from scene to scene and back costs no keyframes.
const LINGER: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_a_screen_is_had_in_full_and_a_moment_longer() {
        let slot = |n: u8| SlotId::try_from(n).unwrap();
        let (mut attention, start) = (Attention::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let check = |attention: &Attention, now, expected: [Detail; 2]| {
            assert_eq!([1, 2].map(|n| attention.detail(now, Some(slot(n)), false)), expected);
        };
        check(&attention, at(0), [Detail::Small, Detail::Small]);
        attention.on_shown(at(1), vec![slot(1)]);
        check(&attention, at(1), [Detail::Full, Detail::Small]);
        attention.on_shown(at(2), vec![slot(1)]);
        attention.on_shown(at(3), vec![slot(2)]);
        check(&attention, at(5), [Detail::Full, Detail::Full]);
        check(&attention, at(6), [Detail::Small, Detail::Full]);
        check(&attention, at(7), [Detail::Small, Detail::Small]);
        assert_eq!(attention.detail(at(7), None, true), Detail::Small);
        assert_eq!(attention.detail(at(7), None, false), Detail::Least);
    }
}
