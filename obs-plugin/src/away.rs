//! What a source shows: the guest, or what the streamer chose for when the guest is away.

use crate::settings::Away;
use crate::slate::Words;
use frame_ipc::{Older, SlotState, Subject};

/// Decides for one source. Times are nanoseconds of any one clock.
#[derive(Clone)]
pub struct Stage {
    subject: Subject,
    away: Away,
    /// How long the last picture stays when its guest goes away.
    after: u64,
    shown: Option<u64>,
    link: Link,
    /// The engine and this plugin do not understand each other.
    mismatch: Option<Older>,
    state: SlotState,
    /// A picture of the guest who is in the slot now has been on screen.
    seen: bool,
    /// Whose picture was on screen last.
    pictured: Option<String>,
    /// The moment from which the wait for the next picture counts.
    expected_from: u64,
    /// Until then a host that has just come back may still be finding out who is where.
    settled_at: u64,
    /// Until then the picture of the one before stays: of what is followed, the next one's comes with the news.
    cut_until: u64,
    /// Since when the guest is away, while the last picture stays.
    away_since: Option<u64>,
    drawn: Drawn,
}

#[derive(Clone)]
enum Link {
    Up,
    /// No state since then.
    Down {
        since: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Drawn {
    Nothing,
    Picture,
    Slate { words: Words, at: u64 },
    Blank,
}

/// What is to be drawn now, instead of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Draw {
    /// A card with this on it.
    Slate(Words),
    Blank,
}

impl Stage {
    pub fn new(subject: Subject, away: Away, after: u64) -> Self {
        Self {
            subject,
            away,
            after,
            shown: None,
            // Down since ever: there is nothing to hold.
            link: Link::Down { since: 0 },
            mismatch: None,
            state: SlotState::default(),
            seen: false,
            pictured: None,
            expected_from: 0,
            settled_at: 0,
            cut_until: 0,
            away_since: None,
            drawn: Drawn::Nothing,
        }
    }

    pub fn set_away(&mut self, away: Away, after: u64) {
        (self.away, self.after) = (away, after);
    }

    /// The card looks different from now on.
    pub fn handle_new_card(&mut self) {
        if let Drawn::Slate { at, .. } = &mut self.drawn {
            *at = 0;
        }
    }

    /// The source was bound to another subject: whoever is on screen does not belong there.
    pub fn set_subject(&mut self, subject: Subject) {
        let drawn = std::mem::replace(&mut self.drawn, Drawn::Nothing);
        let (shown, mismatch) = (self.shown, self.mismatch);
        *self = Self { shown, mismatch, drawn, ..Self::new(subject, self.away, self.after) };
    }

    pub fn handle_shown(&mut self, shown: bool, now: u64) {
        match (self.shown, shown) {
            (None, true) => {
                self.shown = Some(now);
                self.expected_from = self.expected_from.max(now);
            }
            (Some(_), false) => self.shown = None,
            _ => {}
        }
    }

    /// There is an engine, but of another version: whatever is chosen for an absence, the streamer has to read what to do.
    pub fn handle_mismatch(&mut self, older: Older, now: u64) {
        self.handle_lost(now);
        self.mismatch = Some(older);
    }

    /// The connection ended.
    pub fn handle_lost(&mut self, now: u64) {
        self.mismatch = None;
        if matches!(self.link, Link::Up) {
            self.link = Link::Down { since: now };
        }
    }

    pub fn handle_state(&mut self, state: SlotState, now: u64) {
        // Epochs of two hosts cannot be compared: after a restart the name decides.
        let same_host = matches!(self.link, Link::Up);
        let same_guest =
            state.occupant == self.state.occupant && (!same_host || state.epoch == self.state.epoch);
        if !same_guest {
            self.seen = false;
            let follows = same_host && self.subject.plain_slot().is_none();
            self.cut_until = if follows && state.video_live { now + GRACE } else { 0 };
        }
        if !same_host || state.video_live && !self.state.video_live || !same_guest {
            self.expected_from = now;
        }
        if !same_host {
            self.settled_at = now + GRACE;
        }
        self.link = Link::Up;
        self.mismatch = None;
        self.state = state;
    }

    /// A picture of the guest went on screen.
    pub fn handle_picture(&mut self, now: u64) {
        self.drawn = Drawn::Picture;
        self.seen = true;
        self.pictured = self.state.occupant.clone();
        self.expected_from = now;
    }

    /// What to draw now.
    pub fn poll_draw(&mut self, now: u64) -> Option<Draw> {
        let on_screen = self.drawn == Drawn::Picture;
        let stays = match self.link {
            Link::Up if on_screen && now < self.cut_until && self.state.video_live => true,
            Link::Up if on_screen && now < self.settled_at => !self.is_anothers_picture(),
            _ => !self.is_away(now) && (self.seen || !on_screen),
        };
        if stays {
            self.away_since = None;
            return None;
        }
        if on_screen && !self.is_anothers_picture() {
            let since = *self.away_since.get_or_insert(now);
            if now < since.saturating_add(self.after) {
                return None;
            }
        }
        match self.shown_instead() {
            Away::Hold if self.drawn == Drawn::Picture && self.is_anothers_picture() => {
                self.drawn = Drawn::Blank;
                Some(Draw::Blank)
            }
            // Or whatever else stands there: there is no picture to go back to.
            Away::Hold => None,
            Away::Transparent if self.drawn == Drawn::Blank => None,
            Away::Transparent => {
                self.drawn = Drawn::Blank;
                Some(Draw::Blank)
            }
            Away::Slate => {
                let words = self.words();
                match &self.drawn {
                    Drawn::Slate { words: drawn, at } if *drawn == words && now < at + SLATE_INTERVAL => None,
                    _ => {
                        self.drawn = Drawn::Slate { words: words.clone(), at: now };
                        Some(Draw::Slate(words))
                    }
                }
            }
        }
    }

    /// When `poll_draw` may have something new without anything happening before; later than `now`.
    pub fn deadline(&self, now: u64) -> Option<u64> {
        let slate = match (&self.drawn, self.shown_instead()) {
            (Drawn::Slate { at, .. }, Away::Slate) => Some(at + SLATE_INTERVAL),
            _ => None,
        };
        let doubts = match (&self.drawn, &self.link) {
            (Drawn::Picture, Link::Down { since }) => [Some(since + GRACE), None, None],
            (Drawn::Picture, Link::Up) => {
                [Some(self.settled_at), Some(self.cut_until), Some(self.expected_from + PATIENCE)]
            }
            _ => [None, None, None],
        };
        let held = self.away_since.map(|since| since.saturating_add(self.after));
        slate.into_iter().chain(doubts.into_iter().flatten()).chain(held).filter(|at| *at > now).min()
    }

    fn is_away(&self, now: u64) -> bool {
        match self.link {
            Link::Down { since } => now >= since + GRACE,
            Link::Up if self.state.occupant.is_none() || !self.state.video_live => true,
            // Pictures come only while the source is shown.
            Link::Up => self.shown.is_some() && now >= self.expected_from + PATIENCE,
        }
    }

    /// Somebody is in the slot, and the picture on screen is of somebody else.
    fn is_anothers_picture(&self) -> bool {
        match &self.pictured {
            None => true,
            pictured => self.state.occupant.is_some() && *pictured != self.state.occupant,
        }
    }

    fn shown_instead(&self) -> Away {
        if self.mismatch.is_some() { Away::Slate } else { self.away }
    }

    fn words(&self) -> Words {
        let title = match self.state.occupant.as_deref() {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => self.subject.label(),
        };
        let note: &[&str] = match self.mismatch {
            Some(Older::Reader) => &OLD_PLUGIN,
            Some(Older::Host) => &OLD_GREENROOM,
            None if self.state.video_unsupported => &UNSUPPORTED,
            None => &[],
        };
        Words { title, note }
    }
}

/// The engine's media worker restarts within this; a card that flashes up for that long would be worse.
const GRACE: u64 = 1_000_000_000;
/// A live camera that sends no picture for this long is as good as away.
const PATIENCE: u64 = 2_000_000_000;
/// libobs keeps the last picture; drawing the card again mends what a reset of its graphics lost.
const SLATE_INTERVAL: u64 = 2_000_000_000;

const OLD_PLUGIN: [&str; 2] =
    ["The plugin in OBS is older than Greenroom.", "Update the plugin in Greenroom, then restart OBS."];
const OLD_GREENROOM: [&str; 2] = ["Greenroom is older than its plugin in OBS.", "Update Greenroom."];
const UNSUPPORTED: [&str; 1] = ["Unsupported video"];

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn with(name: &str, epoch: u32) -> SlotState {
        SlotState {
            occupant: Some(name.into()),
            video_live: true,
            audio_live: true,
            epoch,
            ..SlotState::default()
        }
    }

    fn slate(title: &str) -> Option<Draw> {
        slate_with(title, &[])
    }

    fn slate_with(title: &str, note: &'static [&'static str]) -> Option<Draw> {
        Some(Draw::Slate(Words { title: title.into(), note }))
    }

    /// On screen at 10 s, with Ada's picture on it.
    fn live(away: Away) -> Stage {
        let mut stage = Stage::new(Subject::slot(1), away, 0);
        stage.handle_shown(true, 10 * S);
        stage.handle_state(with("Ada", 1), 10 * S);
        stage.handle_picture(10 * S);
        assert_eq!(stage.poll_draw(10 * S), None);
        stage
    }

    #[test]
    fn a_new_source_shows_the_slots_card_until_there_is_more() {
        let mut stage = Stage::new(Subject::slot(2), Away::Slate, 0);
        assert_eq!(stage.poll_draw(10 * S), slate("Guest 2"));
        assert_eq!(stage.poll_draw(10 * S + 1), None);
        stage.handle_shown(true, 10 * S);
        stage.handle_state(with("Ada", 1), 10 * S);
        // Ada is on her way: no need to change the card for a moment.
        assert_eq!(stage.poll_draw(11 * S), None);
        stage.handle_picture(11 * S);
        assert_eq!(stage.poll_draw(11 * S), None);
    }

    #[test]
    fn a_guest_who_leaves_gives_the_chosen_picture_at_once() {
        for (away, expected) in
            [(Away::Hold, None), (Away::Slate, slate("Guest 1")), (Away::Transparent, Some(Draw::Blank))]
        {
            let mut stage = live(away);
            stage.handle_state(SlotState::default(), 11 * S);
            assert_eq!(stage.poll_draw(11 * S), expected);
            assert_eq!(stage.poll_draw(11 * S + 1), None, "once is enough");
        }
    }

    #[test]
    fn another_version_is_told_on_the_card_whatever_was_chosen() {
        for (older, note) in [(Older::Reader, &OLD_PLUGIN[..]), (Older::Host, &OLD_GREENROOM)] {
            for away in Away::ALL {
                let mut fresh = Stage::new(Subject::slot(2), away, 0);
                fresh.poll_draw(9 * S);
                fresh.handle_mismatch(older, 10 * S);
                assert_eq!(fresh.poll_draw(10 * S), slate_with("Guest 2", note));
                fresh.set_subject(Subject::slot(3));
                assert_eq!(fresh.poll_draw(10 * S), slate_with("Guest 3", note));
                assert_eq!(fresh.deadline(10 * S), Some(12 * S));

                // An engine that was updated while the guest was on screen.
                let mut stage = live(away);
                stage.handle_lost(11 * S);
                stage.handle_mismatch(older, 11 * S + 1);
                assert_eq!(stage.poll_draw(12 * S - 1), None);
                assert_eq!(stage.poll_draw(12 * S), slate_with("Ada", note));
                stage.handle_state(with("Ada", 1), 13 * S);
                stage.handle_picture(13 * S);
                assert_eq!(stage.poll_draw(13 * S), None);
            }
        }
        // Nobody is there any more: no news of its version.
        let mut stage = Stage::new(Subject::slot(2), Away::Slate, 0);
        stage.handle_mismatch(Older::Host, 10 * S);
        stage.handle_lost(11 * S);
        assert_eq!(stage.poll_draw(11 * S), slate("Guest 2"));
    }

    #[test]
    fn video_that_cannot_be_shown_is_told_on_the_card() {
        let mut stage = live(Away::Slate);
        let unsupported = SlotState { video_live: false, video_unsupported: true, ..with("Ada", 1) };
        stage.handle_state(unsupported.clone(), 11 * S);
        assert_eq!(stage.poll_draw(11 * S), slate_with("Ada", &UNSUPPORTED));
        stage.handle_state(with("Ada", 1), 12 * S);
        stage.handle_picture(12 * S);
        assert_eq!(stage.poll_draw(12 * S), None);
        // To whoever wants to show nothing, nothing is shown.
        let mut stage = live(Away::Transparent);
        stage.handle_state(unsupported, 11 * S);
        assert_eq!(stage.poll_draw(11 * S), Some(Draw::Blank));
    }

    #[test]
    fn a_camera_turned_off_shows_the_guests_name() {
        let mut stage = live(Away::Slate);
        stage.handle_state(SlotState { video_live: false, ..with("Ada", 1) }, 11 * S);
        assert_eq!(stage.poll_draw(11 * S), slate("Ada"));
    }

    #[test]
    fn a_restarted_engine_is_waited_for_with_the_last_picture() {
        let mut stage = live(Away::Slate);
        stage.handle_lost(11 * S);
        assert_eq!(stage.poll_draw(12 * S - 1), None);
        assert_eq!(stage.deadline(11 * S), Some(12 * S));
        // It is back in time, with its own count of epochs, and learns one thing after the other.
        stage.handle_state(SlotState::default(), 12 * S - 1);
        assert_eq!(stage.poll_draw(12 * S), None);
        stage.handle_state(SlotState { video_live: false, ..with("Ada", 7) }, 12 * S + S / 2);
        assert_eq!(stage.poll_draw(12 * S + S / 2), None);
        let mut back = stage.clone();
        back.handle_state(with("Ada", 7), 12 * S + S / 2);
        back.handle_picture(12 * S + S / 2);
        assert_eq!(back.poll_draw(13 * S), None);
        // But no picture of Ada follows.
        assert_eq!(stage.deadline(12 * S + S / 2), Some(13 * S - 1));
        assert_eq!(stage.poll_draw(13 * S), slate("Ada"));
    }

    #[test]
    fn an_engine_that_comes_back_with_another_guest_is_believed_at_once() {
        let mut stage = live(Away::Slate);
        stage.handle_lost(11 * S);
        stage.handle_state(SlotState { video_live: false, ..with("Bob", 1) }, 11 * S);
        assert_eq!(stage.poll_draw(11 * S), slate("Bob"));
    }

    #[test]
    fn a_stage_that_holds_lets_its_thread_sleep() {
        let mut stage = live(Away::Hold);
        stage.handle_lost(11 * S);
        assert_eq!(stage.poll_draw(20 * S), None);
        assert_eq!(stage.deadline(20 * S), None);
        stage.handle_state(with("Ada", 1), 21 * S);
        assert_eq!(stage.deadline(40 * S), None);
    }

    #[test]
    fn a_dead_engine_is_not_waited_for_long() {
        let mut stage = live(Away::Transparent);
        stage.handle_lost(11 * S);
        stage.handle_lost(11 * S + S / 2);
        assert_eq!(stage.poll_draw(12 * S), Some(Draw::Blank));
        stage.handle_state(with("Ada", 1), 20 * S);
        assert_eq!(stage.poll_draw(20 * S), None);
        stage.handle_picture(21 * S);
        assert_eq!(stage.poll_draw(21 * S), None);
    }

    #[test]
    fn a_hung_engine_is_noticed_by_its_silence_but_only_on_screen() {
        let mut stage = live(Away::Slate);
        assert_eq!(stage.poll_draw(12 * S - 1), None);
        assert_eq!(stage.poll_draw(12 * S), slate("Ada"));

        let mut hidden = live(Away::Slate);
        hidden.handle_shown(false, 11 * S);
        assert_eq!(hidden.poll_draw(60 * S), None);
        hidden.handle_shown(true, 60 * S);
        assert_eq!(hidden.poll_draw(61 * S), None);
        assert_eq!(hidden.poll_draw(62 * S), slate("Ada"));
    }

    #[test]
    fn the_next_guest_is_never_shown_with_the_face_of_the_last() {
        for next in [with("Bob", 2), with("Ada", 2)] {
            let mut stage = live(Away::Slate);
            let name = next.occupant.clone().unwrap();
            stage.handle_state(next, 11 * S);
            assert_eq!(stage.poll_draw(11 * S), slate(&name));
            stage.handle_picture(12 * S);
            assert_eq!(stage.poll_draw(12 * S), None);
        }
        for away in [Away::Transparent, Away::Hold] {
            let mut rebound = live(away);
            rebound.set_subject(Subject::slot(2));
            assert_eq!(rebound.poll_draw(11 * S), Some(Draw::Blank));
        }
    }

    #[test]
    fn a_held_picture_is_given_up_for_another_guest_only() {
        let mut stage = live(Away::Hold);
        stage.handle_state(SlotState { epoch: 2, ..SlotState::default() }, 11 * S);
        assert_eq!(stage.poll_draw(60 * S), None);
        stage.handle_state(with("Ada", 3), 61 * S);
        assert_eq!(stage.poll_draw(61 * S), None);
        stage.handle_state(SlotState { video_live: false, ..with("Bob", 4) }, 62 * S);
        assert_eq!(stage.poll_draw(62 * S), Some(Draw::Blank));
    }

    #[test]
    fn the_card_is_drawn_again_now_and_then_and_when_the_choice_changes() {
        let mut stage = Stage::new(Subject::slot(1), Away::Slate, 0);
        assert_eq!(stage.poll_draw(10 * S), slate("Guest 1"));
        assert_eq!(stage.deadline(10 * S), Some(12 * S));
        assert_eq!(stage.poll_draw(12 * S), slate("Guest 1"));
        stage.set_away(Away::Transparent, 0);
        assert_eq!(stage.poll_draw(12 * S), Some(Draw::Blank));
        stage.set_away(Away::Slate, 0);
        assert_eq!(stage.poll_draw(12 * S), slate("Guest 1"));
    }

    #[test]
    fn the_last_picture_stays_as_long_as_the_streamer_wants() {
        for away in [Away::Slate, Away::Transparent] {
            let mut stage = live(away);
            stage.set_away(away, 5 * S);
            stage.handle_state(SlotState { epoch: 2, ..SlotState::default() }, 11 * S);
            assert_eq!(stage.poll_draw(11 * S), None);
            assert!(stage.deadline(11 * S + 1).is_some_and(|at| at <= 16 * S));
            assert_eq!(stage.poll_draw(16 * S - 1), None);
            let expected = if away == Away::Slate { slate("Guest 1") } else { Some(Draw::Blank) };
            assert_eq!(stage.poll_draw(16 * S), expected);

            // Back in time, and gone again: the time begins anew.
            let mut stage = live(away);
            stage.set_away(away, 5 * S);
            stage.handle_state(SlotState { video_live: false, ..with("Ada", 1) }, 11 * S);
            assert_eq!(stage.poll_draw(11 * S), None);
            stage.handle_state(with("Ada", 1), 15 * S);
            stage.handle_picture(15 * S);
            assert_eq!(stage.poll_draw(15 * S), None);
            stage.handle_state(SlotState { video_live: false, ..with("Ada", 1) }, 16 * S);
            assert_eq!(stage.poll_draw(20 * S), None);
            assert!(stage.poll_draw(26 * S).is_some());

            // But not beside another guest's name.
            let mut stage = live(away);
            stage.set_away(away, 5 * S);
            stage.handle_state(SlotState { video_live: false, ..with("Bob", 2) }, 11 * S);
            assert!(stage.poll_draw(11 * S).is_some());
        }
    }

    #[test]
    fn from_one_speaker_to_the_next_nothing_comes_between() {
        let mut stage = live(Away::Slate);
        stage.set_subject(Subject { who: frame_ipc::Who::Screen, stand_in: None });
        stage.handle_state(with("Ada", 1), 11 * S);
        stage.handle_picture(11 * S);
        stage.poll_draw(11 * S);
        stage.handle_state(with("Bob", 2), 20 * S);
        assert_eq!(stage.poll_draw(20 * S), None);
        assert_eq!(stage.deadline(20 * S), Some(21 * S));
        let mut late = stage.clone();
        stage.handle_picture(20 * S + 1);
        assert_eq!(stage.poll_draw(20 * S + 1), None);
        assert_eq!(late.poll_draw(21 * S), slate("Bob"));
        // Somebody without a picture is shown by name at once.
        stage.handle_state(SlotState { video_live: false, ..with("Cleo", 3) }, 30 * S);
        assert_eq!(stage.poll_draw(30 * S), slate("Cleo"));
    }
}
