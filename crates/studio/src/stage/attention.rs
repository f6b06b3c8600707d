//! How much of each guest's picture the media worker is given: as much as OBS shows of it, little while only the
//! dashboard or nobody looks.

use super::Stage;
use super::follow::Shot;
use sfu::Layers;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use wire::TapId;
use wire::link::{Place, Scene, Use};
use wire::ortc::MediaKind;

/// Which places OBS shows, or has just shown.
#[derive(Default)]
pub(super) struct Attention {
    /// When each was seen last, and how much of it.
    seen: BTreeMap<Place, (Instant, Detail)>,
}

/// How much of a picture is worth its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    /// Nobody looks; the media worker does not even decode it.
    Least,
    /// The dashboard's preview, a stamp in a corner, and what OBS shows in the moment before the rest is there.
    Small,
    /// A quarter of the screen.
    Middle,
    Full,
}

impl Attention {
    /// The media worker says which places are on a screen; it repeats that once a second.
    pub fn on_used(&mut self, now: Instant, places: &[Use]) {
        for used in places.iter().filter(|used| used.scene != Scene::Hidden) {
            self.seen.insert(used.place.clone(), (now, Detail::at(used.height)));
        }
        self.seen.retain(|_, (at, _)| now.saturating_duration_since(*at) < LINGER);
    }

    fn seen(&self, now: Instant) -> impl Iterator<Item = (&Place, Detail)> {
        let is_fresh = move |at: Instant| now.saturating_duration_since(at) < LINGER;
        self.seen
            .iter()
            .filter(move |(_, (at, _))| is_fresh(*at))
            .map(|(place, (_, detail))| (place, *detail))
    }
}

impl Detail {
    /// Enough for a picture drawn that high (0: nobody knows). Of several sizes the smallest is at least 135 pixels high,
    /// and each twice the one before, as the guest page sends them.
    fn at(height: u16) -> Self {
        match height {
            1..=135 => Self::Small,
            136..=270 => Self::Middle,
            _ => Self::Full,
        }
    }

    /// The layers a tap takes; `None`: all.
    fn layers(self) -> Option<Layers> {
        match self {
            Self::Full => None,
            Self::Middle => Some(Layers::new(1, u8::MAX)),
            Self::Small => Some(Layers::new(0, u8::MAX)),
            Self::Least => Some(Layers::new(0, 0)),
        }
    }
}

impl Stage {
    /// Makes what taps take equal to what it is needed for: called when something was settled, and every second.
    pub(super) async fn sync_detail(&mut self) {
        let now = Instant::now();
        let least = if self.previews.is_watched() { Detail::Small } else { Detail::Least };
        let seen: Vec<(Shot, Detail)> = self
            .attention
            .seen(now)
            .filter_map(|(place, detail)| Some((self.shot_in(place)?, detail)))
            .collect();
        let mut news: Vec<(TapId, Detail)> = Vec::new();
        for running in self.feeds.running.values_mut().filter(|running| running.kind == MediaKind::Video) {
            let shot = Shot { peer: running.peer, screen: running.screen };
            let of_it = seen.iter().filter(|(other, _)| *other == shot).map(|(_, detail)| *detail);
            let wanted = of_it.max().unwrap_or(least);
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
    use wire::SlotId;

    #[test]
    fn what_is_on_a_screen_is_had_as_large_as_it_is_drawn_and_a_moment_longer() {
        let slot = |n: u8| Place::Slot(SlotId::try_from(n).unwrap());
        let used = |n: u8, height: u16| Use { place: slot(n), scene: Scene::Preview, height };
        let (mut attention, start) = (Attention::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let check = |attention: &Attention, now, expected: &[(u8, Detail)]| {
            let seen: Vec<_> = attention.seen(now).map(|(place, detail)| (place.clone(), detail)).collect();
            let expected: Vec<_> = expected.iter().map(|(n, detail)| (slot(*n), *detail)).collect();
            assert_eq!(seen, expected);
        };
        check(&attention, at(0), &[]);
        attention.on_used(at(1), &[used(1, 0), used(2, 120)]);
        check(&attention, at(1), &[(1, Detail::Full), (2, Detail::Small)]);
        attention.on_used(at(2), &[used(1, 270), Use { scene: Scene::Hidden, ..used(2, 1080) }]);
        check(&attention, at(4), &[(1, Detail::Middle), (2, Detail::Small)]);
        check(&attention, at(5), &[(1, Detail::Middle)]);
        attention.on_used(at(5), &[used(1, 1080)]);
        check(&attention, at(5), &[(1, Detail::Full)]);
        check(&attention, at(9), &[]);
    }
}
