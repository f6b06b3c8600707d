//! What is heard while there is nothing to play: what was heard last, back and forth, and softer until it is silent.
//!
//! Backwards it goes on from the very sample that was played, so that neither its beginning nor its turns are a click.

/// The last of what was played, and how far it was repeated.
pub struct Concealer {
    /// Newest at `newest`; as long as [`REPEATED_MS`].
    history: Box<[[f32; 2]]>,
    newest: usize,
    /// Frames repeated since the last one that was played.
    repeated: usize,
    fade: usize,
    /// Frames until nothing of the repetition is left under what is played again.
    joining: usize,
    join: usize,
}

impl Concealer {
    pub fn new(rate: u32) -> Self {
        let frames = |ms: u32| (u64::from(rate) * u64::from(ms) / 1000).max(2) as usize;
        let (fade, join) = (frames(FADE_MS), frames(JOIN_MS));
        let history = vec![[0.0; 2]; frames(REPEATED_MS)].into();
        Self { history, newest: 0, repeated: 0, fade, joining: 0, join }
    }

    /// A frame there is. After a repetition the two cross over.
    pub fn play(&mut self, frame: [f32; 2]) -> [f32; 2] {
        if self.joining == 0 && self.repeated > 0 {
            self.joining = self.join;
        }
        let mut heard = frame;
        if self.joining > 0 {
            let old = self.joining as f32 / self.join as f32;
            let repetition = self.repetition();
            heard = std::array::from_fn(|i| frame[i] * (1.0 - old) + repetition[i] * old);
            self.joining -= 1;
            if self.joining > 0 {
                // What is repeated stays as it was until it is no longer heard.
                return heard;
            }
            self.repeated = 0;
        }
        self.newest = (self.newest + 1) % self.history.len();
        self.history[self.newest] = heard;
        heard
    }

    /// A frame there is not.
    pub fn conceal(&mut self) -> [f32; 2] {
        self.joining = 0;
        self.repetition()
    }

    fn repetition(&mut self) -> [f32; 2] {
        if self.repeated >= self.fade {
            return [0.0; 2];
        }
        let last = self.history.len() - 1;
        // 1, 2, … last, last − 1, … 0, 1, …: frames back from the newest.
        let turn = (self.repeated + 1) % (2 * last);
        let back = if turn <= last { turn } else { 2 * last - turn };
        let gain = 1.0 - self.repeated as f32 / self.fade as f32;
        self.repeated += 1;
        let place = (self.newest + self.history.len() - back) % self.history.len();
        self.history[place].map(|sample| sample * gain)
    }
}

/// Longer than the period of any voice, shorter than a syllable.
const REPEATED_MS: u32 = 20;
/// Nobody takes a tenth of a second more of a vowel for speech, and longer holes are better heard as such.
const FADE_MS: u32 = 100;
const JOIN_MS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    fn tone(i: usize) -> [f32; 2] {
        let sample = (i as f32 * 440.0 * std::f32::consts::TAU / RATE as f32).sin() * 0.5;
        [sample, -sample]
    }

    #[test]
    fn a_gap_is_bridged_without_a_click_and_a_long_one_fades_to_silence() {
        for gap in [100, 960, 4_000, 9_600] {
            let mut concealer = Concealer::new(RATE);
            let mut heard: Vec<[f32; 2]> = (0..4_800).map(|i| concealer.play(tone(i))).collect();
            heard.extend((0..gap).map(|_| concealer.conceal()));
            heard.extend((4_800..9_600).map(|i| concealer.play(tone(i))));
            let step = heard.windows(2).map(|w| (w[1][0] - w[0][0]).abs()).fold(0.0, f32::max);
            // Half as much again as the tone's own steepest; a click would be twenty times as much.
            assert!(step < 0.045, "{gap}: {step}");
            let loud = |piece: &[[f32; 2]]| piece.iter().any(|frame| frame[0].abs() > 0.1);
            assert!(heard[..4_800 + gap.min(2_400)].chunks(480).all(loud), "{gap}");
            assert!(heard[9_600.min(4_800 + gap)..4_800 + gap].iter().all(|frame| *frame == [0.0; 2]));
            assert_eq!(heard[heard.len() - 4_000..], (5_600..9_600).map(tone).collect::<Vec<_>>());
        }
    }

    #[test]
    fn before_anything_was_played_there_is_silence() {
        let mut concealer = Concealer::new(RATE);
        assert!((0..9_600).all(|_| concealer.conceal() == [0.0; 2]));
    }
}
