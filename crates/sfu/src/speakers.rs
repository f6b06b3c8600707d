//! Who speaks: each observed producer's [`Voice`], and the [`Floor`] of a router, which one of them has.
//!
//! The rule asks, as Volfin and Cohen's dominant speaker identification does (I. Volfin, I. Cohen: "Dominant speaker
//! identification for multipoint videoconferencing", Computer Speech & Language 27, 2013), how long somebody has been
//! active on several time scales and not how loud they are: microphones differ by more than voices. In whole numbers:
//!
//! * Sound is looked at in frames of 20 ms. A frame is *active* at [`SPEECH`] or above, and [`ABOVE_NOISE`] above the
//!   sender's own background noise, which is the quietest frame of the last seconds.
//! * The floor is decided upon every 100 ms. It is taken by the one with the most active frames in the last second, if
//!   they are speaking now ([`SPEAKING`] of the last five frames) and have been for [`TAKES`] frames: a cough is shorter.
//! * Who has the floor keeps it while speaking; nobody is interrupted by being shouted at. In a pause it goes to another
//!   who had [`MORE`] active frames more in the last second: a pause between two words loses nothing.
//! * After [`LOSES_AFTER`] of silence nobody has it.

use crate::clock::Millis;

/// The sound of one producer over the last second. Levels in dBov: 0 is the loudest, −127 silence (RFC 6464).
#[derive(Clone, Debug)]
pub struct Voice {
    /// One bit a frame, the newest lowest.
    active: u64,
    next_frame: Millis,
    /// The loudest level told since the last frame ended.
    pending: Option<i8>,
    /// A level stands for this long: packets are up to 60 ms apart, and arrive unevenly.
    held: i8,
    held_until: Millis,
    /// The quietest frames of this span of time and the one before.
    quietest: [i8; 2],
    span_ends: Millis,
    last_active: Option<Millis>,
    /// When the packets themselves last told a level.
    told: Option<Millis>,
    /// Active frames since the volumes were last announced, and the sum of their levels.
    heard: (u32, i32),
}

impl Voice {
    pub fn new(ms: Millis) -> Self {
        Self {
            active: 0,
            next_frame: ms + FRAME,
            pending: None,
            held: SILENCE,
            held_until: 0,
            quietest: [SILENCE; 2],
            span_ends: ms + NOISE_SPAN,
            last_active: None,
            told: None,
            heard: (0, 0),
        }
    }

    /// A packet told its level (RFC 6464).
    pub fn note(&mut self, level: i8, ms: Millis) {
        self.told = Some(ms);
        self.take(level, ms + PACKET_HOLD);
    }

    /// Somebody who decodes the sound measured its level. Counts only where packets do not tell theirs.
    pub fn note_measured(&mut self, level: i8, ms: Millis) {
        if self.told.is_none_or(|told| ms.saturating_sub(told) > TELLS_WITHIN) {
            self.take(level, ms + MEASURED_HOLD);
        }
    }

    fn take(&mut self, level: i8, until: Millis) {
        self.pending = Some(self.pending.map_or(level, |pending| pending.max(level)));
        self.held_until = until;
    }

    /// Ends the frames that are over by now.
    pub fn advance(&mut self, ms: Millis) {
        if ms.saturating_sub(self.next_frame) > LONG_ABSENCE {
            self.next_frame = ms;
        }
        while self.next_frame <= ms {
            let ended = self.next_frame;
            self.next_frame += FRAME;
            let level = match self.pending.take() {
                Some(level) => {
                    self.held = level;
                    level
                }
                None if ended <= self.held_until => self.held,
                None => SILENCE,
            };
            self.end_frame(level, ended);
        }
    }

    fn end_frame(&mut self, level: i8, at: Millis) {
        let noise = self.quietest[0].min(self.quietest[1]).min(LOUDEST_NOISE);
        let active = level >= SPEECH.max(noise.saturating_add(ABOVE_NOISE));
        self.active = (self.active << 1 | u64::from(active)) & SECOND;
        if active {
            self.last_active = Some(at);
            self.heard = (self.heard.0 + 1, self.heard.1 + i32::from(level));
        }
        if at >= self.span_ends {
            self.span_ends = at + NOISE_SPAN;
            self.quietest = [level, self.quietest[0]];
        } else {
            self.quietest[0] = self.quietest[0].min(level);
        }
    }

    /// Active frames of the last five.
    fn recent(&self) -> u32 {
        (self.active & RECENT).count_ones()
    }

    /// Active frames of the last second.
    fn frames(&self) -> u32 {
        self.active.count_ones()
    }

    fn is_silent(&self, ms: Millis) -> bool {
        self.last_active.is_none_or(|last| ms.saturating_sub(last) >= LOSES_AFTER)
    }

    /// The mean level of what was active since this was last asked; `None`: nothing was.
    pub fn take_volume(&mut self) -> Option<i8> {
        let (count, sum) = std::mem::take(&mut self.heard);
        // The mean of levels is a level.
        (count > 0).then(|| (sum / count as i32) as i8)
    }
}

/// Who has the floor in a router. `Id` is whatever names a producer.
#[derive(Clone, Debug)]
pub struct Floor<Id> {
    holder: Option<Id>,
    next_decision: Millis,
}

impl<Id: Copy + Ord> Floor<Id> {
    pub fn new() -> Self {
        Self { holder: None, next_decision: 0 }
    }

    /// Decides, when it is time to. `Some`: the floor went to another, or to nobody. `voices` are all that count; one
    /// that is missing has left.
    pub fn decide<'a>(
        &mut self,
        ms: Millis,
        voices: impl Iterator<Item = (Id, &'a Voice)> + Clone,
    ) -> Option<Option<Id>> {
        if ms < self.next_decision {
            return None;
        }
        self.next_decision = ms + DECIDE_EVERY;
        let before = self.holder;
        let held = before.and_then(|id| voices.clone().find(|(other, _)| *other == id));
        let held = held.filter(|(_, voice)| !voice.is_silent(ms));
        let challenger = voices
            .filter(|(id, voice)| {
                Some(*id) != before && voice.recent() >= SPEAKING && voice.frames() >= TAKES
            })
            // Among equals the one that was there first.
            .max_by_key(|(id, voice)| (voice.frames(), std::cmp::Reverse(*id)));
        self.holder = match (held, challenger) {
            (Some((id, voice)), Some((other, louder))) => {
                let pauses = voice.recent() < SPEAKING;
                Some(if pauses && louder.frames() >= voice.frames() + MORE { other } else { id })
            }
            (held, challenger) => held.or(challenger).map(|(id, _)| id),
        };
        (self.holder != before).then_some(self.holder)
    }
}

pub const SILENCE: i8 = -127;
const FRAME: Millis = 20;
/// Speech into a laptop's microphone is at −40 to −20 dBov, a quiet room below −60.
const SPEECH: i8 = -50;
const ABOVE_NOISE: i8 = 10;
/// Background noise is believed in up to here; what is steady and louder is meant to be heard.
const LOUDEST_NOISE: i8 = -45;
/// Nobody speaks for longer without a gap between two words.
const NOISE_SPAN: Millis = 2_000;
const PACKET_HOLD: Millis = 60;
/// The media worker measures ten times a second.
const MEASURED_HOLD: Millis = 150;
const TELLS_WITHIN: Millis = 1_000;
/// After it, counting frames one by one leads nowhere.
const LONG_ABSENCE: Millis = 5_000;
const RECENT: u64 = (1 << 5) - 1;
const SECOND: u64 = (1 << 50) - 1;
const DECIDE_EVERY: Millis = 100;
const SPEAKING: u32 = 3;
const TAKES: u32 = 15;
const MORE: u32 = 5;
const LOSES_AFTER: Millis = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// People who speak or do not, 20 ms at a time.
    struct Talk {
        ms: Millis,
        voices: Vec<Voice>,
        floor: Floor<usize>,
    }

    impl Talk {
        fn of(people: usize) -> Self {
            Self { ms: 10_000, voices: vec![Voice::new(10_000); people], floor: Floor::new() }
        }

        /// Lets time pass with each at a level; who got the floor meanwhile, in order. `None` among the levels: no packets.
        fn goes_on(&mut self, ms: Millis, levels: &[Option<i8>]) -> Vec<Option<usize>> {
            let mut changes = Vec::new();
            for _ in 0..ms / FRAME {
                self.ms += FRAME;
                for (voice, level) in self.voices.iter_mut().zip(levels) {
                    if let Some(level) = level {
                        voice.note(*level, self.ms);
                    }
                    voice.advance(self.ms);
                }
                changes.extend(self.floor.decide(self.ms, self.voices.iter().enumerate()));
            }
            changes
        }
    }

    const SPOKEN: Option<i8> = Some(-30);
    const QUIET: Option<i8> = Some(-70);

    #[test]
    fn a_cough_does_not_take_the_floor_and_a_sentence_does() {
        let mut talk = Talk::of(2);
        assert_eq!(talk.goes_on(200, &[SPOKEN, QUIET]), []);
        assert_eq!(talk.goes_on(2_000, &[QUIET, QUIET]), []);
        assert_eq!(talk.goes_on(400, &[SPOKEN, QUIET]), [Some(0)]);
    }

    #[test]
    fn nobody_is_interrupted_and_a_pause_between_words_loses_nothing() {
        let mut talk = Talk::of(2);
        assert_eq!(talk.goes_on(1_000, &[SPOKEN, QUIET]), [Some(0)]);
        assert_eq!(talk.goes_on(3_000, &[SPOKEN, Some(-5)]), [], "shouted at");
        assert_eq!(talk.goes_on(1_000, &[SPOKEN, QUIET]), []);
        assert_eq!(talk.goes_on(300, &[QUIET, SPOKEN]), [], "a \"mm-hm\" in a pause");
        assert_eq!(talk.goes_on(1_000, &[SPOKEN, QUIET]), []);
    }

    #[test]
    fn the_floor_goes_on_to_who_answers_and_is_nobodys_after_a_silence() {
        let mut talk = Talk::of(3);
        assert_eq!(talk.goes_on(5_000, &[SPOKEN, QUIET, QUIET]), [Some(0)]);
        assert_eq!(talk.goes_on(1_000, &[QUIET, SPOKEN, QUIET]), [Some(1)]);
        assert_eq!(talk.goes_on(1_800, &[QUIET; 3]), [], "a breath");
        assert_eq!(talk.goes_on(400, &[QUIET; 3]), [None]);
    }

    #[test]
    fn two_who_speak_by_turns_do_not_make_it_flicker() {
        let mut talk = Talk::of(2);
        let mut changes = 0;
        for _ in 0..30 {
            changes += talk.goes_on(240, &[SPOKEN, QUIET]).len();
            changes += talk.goes_on(240, &[QUIET, SPOKEN]).len();
        }
        assert!(changes <= 2, "{changes} in 14 seconds");
    }

    #[test]
    fn a_fan_is_noise_and_a_low_voice_over_it_is_speech() {
        let mut talk = Talk::of(2);
        // Until its first span is over it might be anything.
        talk.goes_on(8_000, &[Some(-48), QUIET]);
        assert_eq!(talk.goes_on(5_000, &[Some(-46), QUIET]), []);
        assert!(talk.floor.holder.is_none());
        assert_eq!(talk.goes_on(1_000, &[Some(-32), QUIET]), [Some(0)]);
        let mut low = Talk::of(1);
        assert_eq!(low.goes_on(1_000, &[Some(-49)]), [Some(0)], "in a quiet room that is a voice");
    }

    #[test]
    fn long_and_uneven_packets_count_as_they_sound() {
        for every in [3, 5] {
            let mut voice = Voice::new(0);
            for frame in 1..=100u64 {
                // Of 60 ms each, or in bursts after jitter.
                if frame % every == 0 {
                    voice.note(-30, frame * FRAME);
                }
                voice.advance(frame * FRAME);
            }
            assert!(voice.frames() >= 38, "{every}: {}", voice.frames());
        }
    }

    #[test]
    fn measured_levels_stand_in_for_packets_that_tell_none() {
        let mut silent = Voice::new(0);
        let mut telling = Voice::new(0);
        for tenth in 1..=20u64 {
            silent.note_measured(-30, tenth * 100);
            telling.note(-80, tenth * 100);
            telling.note_measured(-30, tenth * 100);
            silent.advance(tenth * 100);
            telling.advance(tenth * 100);
        }
        assert!(silent.frames() > 45);
        assert_eq!((telling.frames(), telling.take_volume()), (0, None));
        assert_eq!((silent.take_volume(), silent.take_volume()), (Some(-30), None));
    }

    #[test]
    fn who_leaves_leaves_the_floor() {
        let mut talk = Talk::of(2);
        talk.goes_on(1_000, &[QUIET, SPOKEN]);
        talk.voices.pop();
        assert_eq!(talk.goes_on(200, &[QUIET]), [None]);
    }
}
