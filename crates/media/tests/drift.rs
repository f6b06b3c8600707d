//! Lips stay in sync for as long as a show lasts, in virtual time; `examples/drift.rs` lives through ten hours of it.

mod common;

use common::show::{Conditions, live};
use wire::link::Steadiness;

/// The most that sound and picture are apart after the first five seconds, and the longest that took to be heard.
fn worst(conditions: Conditions) -> (f64, f64) {
    let (mut apart, mut delay, mut seconds) = (0.0_f64, 0.0_f64, 0);
    live(conditions, |second| {
        if second.second > 5 {
            apart = apart.max(second.apart_ms.abs());
            delay = delay.max(second.heard_after_ms);
            seconds += 1;
        }
    });
    assert!(seconds * 10 > (conditions.seconds - 6) * 9, "{seconds} beeps heard");
    (apart, delay)
}

#[test]
fn clocks_that_drift_apart_are_held_together() {
    for (wall_ppm, card_ppm) in [(200, -200), (-200, 200), (0, 200), (200, 200)] {
        let (apart, _) = worst(Conditions { seconds: 300, wall_ppm, card_ppm, ..Conditions::default() });
        assert!(apart <= 20.0, "{wall_ppm}, {card_ppm} ppm: {apart} ms");
    }
}

#[test]
fn jitter_and_loss_do_not_part_sound_and_picture() {
    let conditions = Conditions {
        seconds: 300,
        wall_ppm: 100,
        card_ppm: -50,
        sound_jitter_ms: 30,
        picture_jitter_ms: 60,
        loss_percent: 2,
        ..Conditions::default()
    };
    let (apart, delay) = worst(conditions);
    assert!(apart <= 20.0 && delay < 150.0, "{apart} ms apart, {delay} ms late");
}

#[test]
fn instant_is_sooner_and_steady_is_later() {
    let (_, instant) = worst(Conditions { steadiness: Steadiness::Instant, ..Conditions::default() });
    let (_, balanced) = worst(Conditions::default());
    let (apart, steady) = worst(Conditions { steadiness: Steadiness::Steady, ..Conditions::default() });
    assert!(instant <= balanced && balanced + 80.0 < steady, "{instant} {balanced} {steady}");
    assert!(apart <= 20.0, "{apart}");
}
