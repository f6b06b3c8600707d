//! When something is bad: the rules of every alarm, from what was measured to a [`Reading`].

use crate::alarms::{Reading, Source, State};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use wire::alarm::AlarmKind;
use wire::dashboard::{OutputStatus, Severity};
use wire::obs::{ObsControl, Recording};
use wire::{PeerId, RoomId};

/// The bounds that a streamer may set. Durations are how long something has to be bad.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmRules {
    /// Of a listener's connections, in hundredths.
    pub connections_percent: u8,
    /// At or below this score (0 to 10)…
    pub guest_score: u8,
    /// …for so long.
    pub guest: Duration,
    /// How long guests do not reach OBS.
    pub media_worker: Duration,
    pub disk_free_bytes: u64,
    pub cpu_percent: u8,
    pub cpu: Duration,
}

impl Default for AlarmRules {
    fn default() -> Self {
        Self {
            connections_percent: 80,
            guest_score: 3,
            guest: Duration::from_secs(10),
            media_worker: Duration::from_secs(5),
            disk_free_bytes: 1_000_000_000,
            cpu_percent: 90,
            cpu: Duration::from_secs(30),
        }
    }
}

/// What was measured at one moment.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By listener: how many there are.
    pub connections: Vec<(&'static str, u64)>,
    pub connection_limit: u64,
    pub guests: Vec<Guest>,
    pub media_worker: OutputStatus,
    /// So far.
    pub media_restarts: u64,
    pub obs: ObsControl,
    /// `None`: not known.
    pub disk_free_bytes: Option<u64>,
    /// By number, from 1: the host, and why it does not take what it is told, if it does not.
    pub webhooks: Vec<(usize, String, Option<String>)>,
    /// Of all of this computer's processors, 0 to 1.
    pub cpu_busy: Option<f64>,
}

/// A guest who sends something.
#[derive(Clone, Debug)]
pub struct Guest {
    pub room: RoomId,
    pub peer: PeerId,
    pub name: String,
    /// 0 to 10; `None`: not known just now.
    pub score: Option<u8>,
}

/// The rules, with what some of them have to remember.
#[derive(Debug)]
pub struct Watch {
    rules: AlarmRules,
    /// OBS streamed or recorded when it was last seen.
    on_air: bool,
    /// When the media worker was seen to have been started again.
    restarts: VecDeque<Instant>,
    restarts_seen: u64,
}

impl Watch {
    pub fn new(rules: AlarmRules) -> Self {
        Self { rules, on_air: false, restarts: VecDeque::new(), restarts_seen: 0 }
    }

    pub fn read(&mut self, now: Instant, measured: &Measured) -> Vec<Reading> {
        let mut readings = vec![self.media_worker(now, measured), self.obs(&measured.obs)];
        readings.extend(self.connections(measured));
        readings.extend(measured.guests.iter().map(|guest| self.guest(guest)));
        readings.extend(measured.disk_free_bytes.map(|free| self.disk(free)));
        readings.extend(measured.webhooks.iter().map(webhook));
        readings.extend(measured.cpu_busy.map(|busy| self.cpu(busy)));
        readings
    }

    fn connections(&self, measured: &Measured) -> Vec<Reading> {
        let limit = measured.connection_limit.max(1);
        let reading = |(listener, open): &(&'static str, u64)| {
            let percent = open * 100 / limit;
            let bound = u64::from(self.rules.connections_percent);
            Reading {
                source: Source::named(AlarmKind::Connections, *listener),
                state: grade(percent >= bound, percent + 10 < bound.max(11)),
                // A page opens several at once, and lets go of them.
                raise_after: Duration::from_secs(5),
                clear_after: Duration::from_secs(10),
                severity: Severity::Warning,
                what: format!("{open} of {limit} connections are open: soon nobody new gets in."),
                todo: "Close pages that nobody needs, or raise limits.connections in the settings.".into(),
            }
        };
        measured.connections.iter().map(reading).collect()
    }

    fn guest(&self, guest: &Guest) -> Reading {
        let AlarmRules { guest_score, guest: patience, .. } = self.rules;
        let state = match guest.score {
            None => State::Between,
            Some(score) => grade(score <= guest_score, score >= guest_score.saturating_add(2).min(10)),
        };
        Reading {
            source: Source {
                guest: Some((guest.room.clone(), guest.peer)),
                ..Source::named(AlarmKind::GuestQuality, guest.peer.to_string())
            },
            state,
            raise_after: patience,
            clear_after: Duration::from_secs(5),
            severity: Severity::Warning,
            what: format!("{}'s connection has been bad for {} seconds.", guest.name, patience.as_secs()),
            todo: "Ask them to move closer to their Wi-Fi or to use a cable, and to close what else uses their network.".into(),
        }
    }

    fn media_worker(&mut self, now: Instant, measured: &Measured) -> Reading {
        let fresh = measured.media_restarts.saturating_sub(self.restarts_seen);
        self.restarts_seen = measured.media_restarts;
        self.restarts.extend((0..fresh.min(RESTARTS as u64)).map(|_| now));
        while self.restarts.front().is_some_and(|at| now.duration_since(*at) > RESTARTS_WITHIN) {
            self.restarts.pop_front();
        }
        // Three are a crowd; more need not be remembered.
        while self.restarts.len() > RESTARTS {
            self.restarts.pop_front();
        }
        let is_flapping = self.restarts.len() >= RESTARTS;
        let is_well = matches!(measured.media_worker, OutputStatus::Running | OutputStatus::Off);
        let (what, todo) = match &measured.media_worker {
            OutputStatus::Failed { reason } | OutputStatus::Restarting { reason } => {
                (format!("Guests do not reach OBS. {reason}"), "Wait a moment; if it stays, start Greenroom again.")
            }
            _ if is_flapping => (
                "The media worker was started again three times within a minute: guests' pictures stop each time.".into(),
                "Look in the notes for whose stream it is, and ask that guest to reload the page or to use another browser.",
            ),
            _ => ("Guests do not reach OBS: the media worker does not start.".into(), "Start Greenroom again."),
        };
        Reading {
            source: Source::of(AlarmKind::MediaWorker),
            state: grade(is_flapping || !is_well, !is_flapping && is_well),
            raise_after: self.rules.media_worker,
            clear_after: Duration::from_secs(5),
            severity: Severity::Error,
            what,
            todo: todo.into(),
        }
    }

    fn obs(&mut self, obs: &ObsControl) -> Reading {
        match obs {
            ObsControl::Connected(show) => {
                self.on_air = show.streaming || show.recording != Recording::Off;
            }
            ObsControl::Off => self.on_air = false,
            ObsControl::Waiting { .. } => {}
        }
        let is_lost = self.on_air && matches!(obs, ObsControl::Waiting { .. });
        Reading {
            source: Source::of(AlarmKind::ObsLost),
            state: grade(is_lost, !is_lost),
            // obs-websocket drops a connection now and then, and takes the next.
            raise_after: Duration::from_secs(3),
            clear_after: Duration::ZERO,
            severity: Severity::Error,
            what: "OBS was lost while it was streaming or recording.".into(),
            todo: "Look whether OBS still runs; if not, start it and go on air again.".into(),
        }
    }

    fn disk(&self, free: u64) -> Reading {
        let bound = self.rules.disk_free_bytes;
        Reading {
            source: Source::of(AlarmKind::Disk),
            state: grade(free < bound, free >= bound.saturating_add(bound / 2)),
            raise_after: Duration::from_secs(5),
            clear_after: Duration::from_secs(5),
            severity: Severity::Error,
            what: format!(
                "The disk has {} MB left: soon nothing can be saved, recordings of OBS among them.",
                free / 1_000_000
            ),
            todo: "Delete what you do not need, or move it to another disk.".into(),
        }
    }

    fn cpu(&self, busy: f64) -> Reading {
        let percent = (busy * 100.0).round() as u64;
        let bound = u64::from(self.rules.cpu_percent);
        Reading {
            source: Source::of(AlarmKind::Cpu),
            state: grade(percent >= bound, percent + 15 <= bound.max(15)),
            raise_after: self.rules.cpu,
            clear_after: Duration::from_secs(10),
            severity: Severity::Warning,
            what: format!("This computer's processor is {percent} % busy: pictures and sound may stutter."),
            todo: "Close other programs, or let OBS encode on the graphics card or at a smaller size.".into(),
        }
    }
}

fn webhook((number, host, trouble): &(usize, String, Option<String>)) -> Reading {
    Reading {
        source: Source::named(AlarmKind::Webhook, number.to_string()),
        state: grade(trouble.is_some(), trouble.is_none()),
        // Two attempts in vain, and a third under way.
        raise_after: Duration::from_secs(10),
        clear_after: Duration::ZERO,
        severity: Severity::Warning,
        what: format!(
            "Webhook {number} ({host}) is not told what happens. {}",
            trouble.as_deref().unwrap_or_default()
        ),
        todo: "Look whether that program runs and whether its address in the settings is right.".into(),
    }
}

fn grade(bad: bool, good: bool) -> State {
    match (bad, good) {
        (true, _) => State::Bad,
        (false, true) => State::Good,
        (false, false) => State::Between,
    }
}

/// So many restarts…
const RESTARTS: usize = 3;
/// …within this time are one too many: a single one is over before it is read.
const RESTARTS_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::{AlarmEvent, Alarms};
    use wire::obs::ObsShow;

    /// Measures once a second, for as long as a story takes.
    struct Story {
        watch: Watch,
        alarms: Alarms,
        now: Instant,
        measured: Measured,
    }

    impl Story {
        fn begin() -> Self {
            let measured = Measured {
                connections: vec![("control", 1), ("lan", 0)],
                connection_limit: 100,
                media_worker: OutputStatus::Running,
                disk_free_bytes: Some(50_000_000_000),
                cpu_busy: Some(0.2),
                ..Measured::default()
            };
            Self {
                watch: Watch::new(AlarmRules::default()),
                alarms: Alarms::default(),
                now: Instant::now(),
                measured,
            }
        }

        /// What happened within so many seconds of things being so: `+kind`, `-kind`.
        fn pass(&mut self, seconds: u64, how: impl Fn(&mut Measured)) -> Vec<String> {
            let mut told = Vec::new();
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                how(&mut self.measured);
                let readings = self.watch.read(self.now, &self.measured);
                for event in self.alarms.handle(self.now, "now", readings) {
                    told.push(match event {
                        AlarmEvent::Raised(view) => format!("+{:?}", view.kind),
                        AlarmEvent::Cleared(view) => format!("-{:?}", view.kind),
                    });
                }
            }
            told
        }
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn ten_quiet_hours_raise_nothing() {
        assert_eq!(Story::begin().pass(36_000, |_| {}), NOTHING);
    }

    #[test]
    fn connections_near_the_limit() {
        let mut story = Story::begin();
        let open = |count| move |m: &mut Measured| m.connections[1].1 = count;
        assert_eq!(story.pass(60, open(79)), NOTHING);
        assert_eq!(story.pass(4, open(100)), NOTHING);
        assert_eq!(story.pass(10, open(80)), ["+Connections"]);
        assert!(
            story.alarms.shown()[0].what.starts_with("80 of 100 connections")
                || story.alarms.shown()[0].what.starts_with("100 of 100")
        );
        assert_eq!(story.pass(60, open(75)), NOTHING, "between: it stays");
        assert_eq!(story.pass(60, open(50)), ["-Connections"]);
    }

    #[test]
    fn a_guest_whose_connection_is_bad() {
        let mut story = Story::begin();
        let guest = |score| {
            move |m: &mut Measured| {
                let room = RoomId::parse("show").unwrap();
                m.guests = vec![Guest { room, peer: PeerId(uuid::Uuid::nil()), name: "Ada".into(), score }];
            }
        };
        assert_eq!(story.pass(60, guest(Some(10))), NOTHING);
        assert_eq!(story.pass(8, guest(Some(2))), NOTHING);
        assert_eq!(story.pass(5, guest(Some(9))), NOTHING, "it was a moment");
        assert_eq!(story.pass(12, guest(Some(3))), ["+GuestQuality"]);
        let [alarm] = &story.alarms.shown()[..] else { panic!("one alarm") };
        assert_eq!(alarm.what, "Ada's connection has been bad for 10 seconds.");
        assert_eq!(alarm.room_id.as_ref().map(RoomId::as_str), Some("show"));
        assert_eq!(story.pass(60, guest(Some(4))), NOTHING);
        assert_eq!(story.pass(60, guest(None)), NOTHING, "not known is no news");
        assert_eq!(story.pass(6, guest(Some(5))), ["-GuestQuality"]);
        assert_eq!(story.pass(12, guest(Some(0))), ["+GuestQuality"]);
        assert_eq!(story.pass(1, |m| m.guests.clear()), ["-GuestQuality"], "they left");
    }

    #[test]
    fn a_media_worker_that_stays_away_or_comes_and_goes() {
        let mut story = Story::begin();
        let dead =
            |m: &mut Measured| m.media_worker = OutputStatus::Restarting { reason: "It crashed.".into() };
        let alive = |m: &mut Measured| m.media_worker = OutputStatus::Running;
        assert_eq!(story.pass(4, dead), NOTHING, "one restart is over before anybody could act");
        assert_eq!(story.pass(60, alive), NOTHING);
        assert_eq!(story.pass(10, dead), ["+MediaWorker"]);
        assert!(story.alarms.shown()[0].what.contains("It crashed."));
        assert_eq!(story.pass(10, alive), ["-MediaWorker"]);
        for _ in 0..2 {
            assert_eq!(story.pass(10, |_| {}), NOTHING);
            story.measured.media_restarts += 1;
        }
        assert_eq!(story.pass(10, |_| {}), NOTHING);
        story.measured.media_restarts += 1;
        assert_eq!(story.pass(10, |_| {}), ["+MediaWorker"]);
        assert!(story.alarms.shown()[0].what.contains("three times"));
        assert_eq!(story.pass(90, |_| {}), ["-MediaWorker"]);
    }

    #[test]
    fn obs_that_goes_while_on_air() {
        let on_air = |streaming| {
            move |m: &mut Measured| m.obs = ObsControl::Connected(ObsShow { streaming, ..ObsShow::default() })
        };
        let gone = |m: &mut Measured| m.obs = ObsControl::Waiting { hint: "Start OBS.".into() };
        let mut story = Story::begin();
        assert_eq!(story.pass(10, gone), NOTHING, "nobody was on air");
        assert_eq!(story.pass(10, on_air(false)), NOTHING);
        assert_eq!(story.pass(10, gone), NOTHING);
        assert_eq!(story.pass(10, on_air(true)), NOTHING);
        assert_eq!(story.pass(2, gone), NOTHING);
        assert_eq!(story.pass(1, on_air(true)), NOTHING, "it was the connection alone");
        assert_eq!(story.pass(600, gone), ["+ObsLost"]);
        assert_eq!(story.pass(1, on_air(false)), ["-ObsLost"]);
        assert_eq!(story.pass(10, gone), NOTHING);
        assert_eq!(story.pass(1, on_air(true)), NOTHING);
        assert_eq!(story.pass(9, gone), ["+ObsLost"]);
        assert_eq!(story.pass(1, |m| m.obs = ObsControl::Off), ["-ObsLost"], "nobody wants to know any more");
    }

    #[test]
    fn a_webhook_that_nobody_takes() {
        let mut story = Story::begin();
        let trouble = |trouble: Option<&'static str>| {
            move |m: &mut Measured| m.webhooks = vec![(1, "bot.example".into(), trouble.map(str::to_owned))]
        };
        assert_eq!(story.pass(60, trouble(None)), NOTHING);
        assert_eq!(story.pass(8, trouble(Some("It answers 500."))), NOTHING);
        assert_eq!(story.pass(60, trouble(Some("It answers 500."))).len(), 1);
        assert!(
            story.alarms.shown()[0].what.ends_with("(bot.example) is not told what happens. It answers 500.")
        );
        assert_eq!(story.pass(1, trouble(None)), ["-Webhook"]);
    }

    #[test]
    fn a_full_disk_and_a_busy_processor() {
        let mut story = Story::begin();
        assert_eq!(story.pass(10, |m| m.disk_free_bytes = Some(900_000_000)), ["+Disk"]);
        assert_eq!(story.pass(60, |m| m.disk_free_bytes = Some(1_200_000_000)), NOTHING);
        assert_eq!(story.pass(10, |m| m.disk_free_bytes = Some(1_500_000_000)), ["-Disk"]);
        assert_eq!(story.pass(29, |m| m.cpu_busy = Some(1.0)), NOTHING);
        assert_eq!(story.pass(1, |m| m.cpu_busy = Some(0.5)), NOTHING);
        assert_eq!(story.pass(32, |m| m.cpu_busy = Some(0.95)), ["+Cpu"]);
        assert_eq!(story.pass(60, |m| m.cpu_busy = Some(0.8)), NOTHING);
        assert_eq!(story.pass(11, |m| m.cpu_busy = Some(0.5)), ["-Cpu"]);
        assert_eq!(story.pass(60, |m| (m.cpu_busy, m.disk_free_bytes) = (None, None)), NOTHING);
    }
}
