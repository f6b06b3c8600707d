//! `GET /metrics`: every figure under its name. docs/monitoring.md has the table, and a test holds it to what is here.

use crate::process::Process;
use crate::stage::figures::{Figures, Stream};
use operations::exposition::{Exposition, Histogram, Kind};
use sfu::Totals;
use signaling::tally::{BOUNDS, Place, Tally};
use wire::alarm::AlarmKind;
use wire::dashboard::OutputStatus;
use wire::obs::{ObsControl, Recording};

/// What is written down.
pub(crate) struct Scrape<'a> {
    pub figures: &'a Figures,
    pub tally: &'a Tally,
    /// Of one listener.
    pub connection_limit: usize,
    pub process: Option<Process>,
}

impl Scrape<'_> {
    pub fn text(&self) -> String {
        let mut page = Exposition::default();
        self.engine(&mut page);
        self.signaling(&mut page);
        self.people(&mut page);
        self.forwarding(&mut page);
        self.streams(&mut page);
        self.outputs(&mut page);
        self.alarms(&mut page);
        self.webhooks(&mut page);
        self.process(&mut page);
        page.finish()
    }

    fn engine(&self, page: &mut Exposition) {
        page.family("greenroom_info", Kind::Gauge, "Always 1; the label tells the version.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let help = "Since the engine started; it starts anew when its stage fails.";
        page.single("greenroom_uptime_seconds", Kind::Gauge, help, self.figures.uptime_seconds);
    }

    fn signaling(&self, page: &mut Exposition) {
        let tally = self.tally;
        let mut connections =
            page.family("greenroom_connections", Kind::Gauge, "Open TCP connections, by listener.");
        for (listener, place) in [("control", Place::Control), ("lan", Place::Lan)] {
            connections.sample(&[("listener", listener)], tally.inside(place));
        }
        let help = "How many a listener keeps open; further ones wait.";
        page.single("greenroom_connections_limit", Kind::Gauge, help, self.connection_limit);
        let mut sockets = page.family("greenroom_sockets", Kind::Gauge, "Open sockets, by what they speak.");
        for (kind, place) in [
            ("socket.io", Place::SocketIo),
            ("dashboard", Place::Dashboard),
            ("swarm", Place::Swarm),
            ("live", Place::Live),
        ] {
            sockets.sample(&[("kind", kind)], tally.inside(place));
        }
        let help = "Socket.IO messages by event, and how long each took to be handled.";
        let mut messages = page.family("greenroom_message_seconds", Kind::Histogram, help);
        for handled in tally.handled() {
            let histogram = Histogram { bounds: &BOUNDS, counts: &handled.counts, sum: handled.sum_seconds };
            messages.histogram(&[("event", handled.event)], histogram);
        }
        let help = "Socket.IO messages refused unread, by reason.";
        let mut refused = page.family("greenroom_messages_refused_total", Kind::Counter, help);
        for (reason, count) in tally.refusals() {
            refused.sample(&[("reason", reason)], count);
        }
        let help = "HTTP answers by status; 1xx are upgrades to WebSocket.";
        let mut answers = page.family("greenroom_http_responses_total", Kind::Counter, help);
        for (code, count) in tally.answers() {
            answers.sample(&[("code", code)], count);
        }
    }

    fn people(&self, page: &mut Exposition) {
        let mut rooms = page.family("greenroom_rooms", Kind::Gauge, "Rooms by status.");
        for (status, count) in &self.figures.rooms {
            rooms.sample(&[("status", status)], count);
        }
        let help = "Peers in rooms, by role and state; away: the connection is lost, the place is kept.";
        let mut peers = page.family("greenroom_peers", Kind::Gauge, help);
        for ((role, state), count) in &self.figures.peers {
            peers.sample(&[("role", role), ("state", state)], count);
        }
    }

    fn forwarding(&self, page: &mut Exposition) {
        // Of a thread that does not answer just now there is no sample, which is not the same as 0.
        let mut each = |name, kind, help, of: &dyn Fn(&Totals) -> u64| {
            let mut family = page.family(name, kind, help);
            for (index, (totals, _)) in self.figures.workers.iter().enumerate() {
                if let Some(totals) = totals {
                    family.sample(&[("worker", &index.to_string())], of(totals));
                }
            }
        };
        use Kind::{Counter, Gauge};
        each("greenroom_transports", Gauge, "WebRTC transports.", &|t| t.there.transports as u64);
        each("greenroom_producers", Gauge, "Tracks that peers send.", &|t| t.there.producers as u64);
        each("greenroom_consumers", Gauge, "Tracks that peers receive.", &|t| t.there.consumers as u64);
        let help = "Of datagrams that clients sent: media, RTCP, DTLS.";
        each("greenroom_received_bytes_total", Counter, help, &|t| t.received_octets);
        each("greenroom_sent_bytes_total", Counter, "Of datagrams to clients.", &|t| t.sent_octets);
        let help = "Media packets that came, retransmissions apart.";
        each("greenroom_received_packets_total", Counter, help, &|t| t.received_packets);
        let help = "Media packets passed on; once for each receiver.";
        each("greenroom_forwarded_packets_total", Counter, help, &|t| t.forwarded_packets);
        each("greenroom_forwarded_bytes_total", Counter, "Of those packets.", &|t| t.forwarded_octets);
        let help = "Media packets sent again because a receiver missed them.";
        each("greenroom_retransmitted_packets_total", Counter, help, &|t| t.retransmitted_packets);

        let help = "What went no further, by cause; docs/monitoring.md tells what each means.";
        let mut drops = page.family("greenroom_dropped_total", Counter, help);
        for (index, (totals, figures)) in self.figures.workers.iter().enumerate() {
            let worker = index.to_string();
            let mut drop = |cause: &str, count: u64| {
                drops.sample(&[("worker", &worker), ("cause", cause)], count);
            };
            if let Some(Totals { dropped, .. }) = totals {
                drop("stray", dropped.stray);
                drop("refused", dropped.refused);
                drop("over-limit", dropped.over_limit);
                drop("queue-full", dropped.queue_full);
                drop("late", dropped.late);
                drop("control", dropped.control);
                drop("data-messages", dropped.data_messages);
            }
            drop("socket", figures.send_dropped);
            drop("media-worker", figures.records_dropped);
        }
        let workers = || (0usize..).map(|index| index.to_string()).zip(&self.figures.workers);
        let mut alive = page.family("greenroom_worker_up", Gauge, "Whether the forwarding thread lives.");
        for (worker, (_, figures)) in workers() {
            alive.sample(&[("worker", &worker)], u8::from(figures.alive));
        }
        let help = "How often the forwarding thread failed and began anew.";
        let mut restarts = page.family("greenroom_worker_restarts_total", Counter, help);
        for (worker, (_, figures)) in workers() {
            restarts.sample(&[("worker", &worker)], figures.restarts);
        }
        let help = "Processor time of the forwarding thread.";
        let mut cpu = page.family("greenroom_worker_cpu_seconds_total", Counter, help);
        for (worker, (_, figures)) in workers() {
            cpu.sample(&[("worker", &worker)], figures.cpu_seconds);
        }
    }

    /// Labels are ids, which rooms' limits bound, and never what a guest wrote.
    fn streams(&self, page: &mut Exposition) {
        let mut each = |name, kind, help, of: &dyn Fn(&Stream) -> Option<f64>| {
            let mut family = page.family(name, kind, help);
            for stream in &self.figures.streams {
                let Some(value) = of(stream) else { continue };
                let labels = [
                    ("room", stream.room.as_str()),
                    ("peer", &stream.peer.to_string()),
                    ("kind", stream.kind),
                    ("producer", &stream.producer.to_string()),
                    ("ssrc", &stream.stats.ssrc.to_string()),
                ];
                family.sample(&labels, value);
            }
        };
        use Kind::{Counter, Gauge};
        let help = "What a stream brings, over the last second.";
        each("greenroom_stream_bytes_per_second", Gauge, help, &|s| Some(s.stats.bitrate as f64 / 8.0));
        let help = "Octets of the stream that came.";
        each("greenroom_stream_bytes_total", Counter, help, &|s| Some(s.stats.byte_count as f64));
        let help = "Packets of the stream that came.";
        each("greenroom_stream_packets_total", Counter, help, &|s| Some(s.stats.packet_count as f64));
        let help = "Packets lost on the way and not brought back. RTP lets it fall when packets come late.";
        each("greenroom_stream_lost_packets", Gauge, help, &|s| Some(s.stats.packets_lost as f64));
        let help = "Share of packets lost in the last report interval, 0 to 1.";
        each("greenroom_stream_loss_ratio", Gauge, help, &|s| Some(f64::from(s.stats.fraction_lost) / 256.0));
        let help = "Interarrival jitter (RFC 3550 section 6.4.1).";
        each("greenroom_stream_jitter_seconds", Gauge, help, &|s| Some(s.stats.jitter_ms / 1000.0));
        let help = "Round trip to the sender; absent until measured.";
        each("greenroom_stream_round_trip_seconds", Gauge, help, &|s| s.stats.rtt_ms.map(|ms| ms / 1000.0));
        let help = "0 (unusable) to 10 (nothing to notice).";
        each("greenroom_stream_score", Gauge, help, &|s| Some(f64::from(s.stats.score)));
    }

    fn outputs(&self, page: &mut Exposition) {
        use Kind::{Counter, Gauge};
        let figures = self.figures;
        let up = u8::from(figures.media_status == OutputStatus::Running);
        page.single("greenroom_media_worker_up", Gauge, "Whether guests are decoded for OBS.", up);
        let help = "How often the media worker came back after it had ended.";
        page.single("greenroom_media_worker_restarts_total", Counter, help, figures.media_restarts);
        let help = "Pictures handed on to OBS or to previews.";
        page.single("greenroom_media_pictures_total", Counter, help, figures.media.pictures);
        let seconds = figures.media.decoding_us as f64 / 1e6;
        page.single("greenroom_media_decode_seconds_total", Counter, "Time spent decoding them.", seconds);
        page.single("greenroom_slots", Gauge, "Slots there are.", figures.slots);
        page.single("greenroom_slots_taken", Gauge, "Slots with somebody in them.", figures.slots_taken);
        let obs = &figures.obs;
        page.single("greenroom_obs_running", Gauge, "Whether OBS runs.", u8::from(obs.running));
        page.single("greenroom_obs_sources", Gauge, "OBS sources that show a guest.", obs.sources);
        let show = match &obs.control {
            ObsControl::Connected(show) => Some(show),
            ObsControl::Off | ObsControl::Waiting { .. } => None,
        };
        let help = "Whether OBS is connected by obs-websocket.";
        page.single("greenroom_obs_connected", Gauge, help, u8::from(show.is_some()));
        let streaming = show.is_some_and(|show| show.streaming);
        page.single("greenroom_obs_streaming", Gauge, "Whether OBS streams.", u8::from(streaming));
        let recording = show.is_some_and(|show| show.recording == Recording::On);
        page.single("greenroom_obs_recording", Gauge, "Whether OBS records.", u8::from(recording));
    }

    fn alarms(&self, page: &mut Exposition) {
        let mut alarms = page.family("greenroom_alarms", Kind::Gauge, "Alarms that are raised, by kind.");
        for (kind, name) in ALARMS {
            let raised = self.figures.alarms.get(&kind).copied().unwrap_or_default();
            alarms.sample(&[("kind", name)], raised);
        }
        if let Some(busy) = self.figures.host.cpu_busy {
            let help = "Share of this computer's processor time in use, by anybody, 0 to 1.";
            page.single("greenroom_host_cpu_busy_ratio", Kind::Gauge, help, busy);
        }
        if let Some(free) = self.figures.host.disk_free_bytes {
            let help = "Room on the disk with Greenroom's data.";
            page.single("greenroom_disk_free_bytes", Kind::Gauge, help, free);
        }
    }

    /// The number is the place in the settings, from 1. An address' path is a secret, and its host is enough.
    fn webhooks(&self, page: &mut Exposition) {
        if self.figures.webhooks.is_empty() {
            return;
        }
        let help = "Messages to webhooks by what became of them; lost: too many waited already.";
        let mut messages = page.family("greenroom_webhook_messages_total", Kind::Counter, help);
        for (number, status) in (1..).zip(&self.figures.webhooks) {
            let number = i32::to_string(&number);
            for (result, count) in
                [("delivered", status.delivered), ("given-up", status.given_up), ("lost", status.lost)]
            {
                let labels = [("endpoint", number.as_str()), ("host", &status.host), ("result", result)];
                messages.sample(&labels, count);
            }
        }
        let help = "Attempts to deliver one that failed.";
        let mut failed = page.family("greenroom_webhook_failed_attempts_total", Kind::Counter, help);
        for (number, status) in (1..).zip(&self.figures.webhooks) {
            let number = i32::to_string(&number);
            failed.sample(&[("endpoint", &number), ("host", &status.host)], status.failed_attempts);
        }
        let help = "Messages that wait, or are being tried.";
        let mut waiting = page.family("greenroom_webhook_waiting", Kind::Gauge, help);
        for (number, status) in (1..).zip(&self.figures.webhooks) {
            let number = i32::to_string(&number);
            waiting.sample(&[("endpoint", &number), ("host", &status.host)], status.waiting);
        }
    }

    fn process(&self, page: &mut Exposition) {
        use Kind::{Counter, Gauge};
        let Some(process) = self.process else { return };
        let help = "Processor time, user and system.";
        page.single("process_cpu_seconds_total", Counter, help, process.cpu_seconds);
        page.single("process_resident_memory_bytes", Gauge, "Memory in use.", process.resident_bytes);
        page.single("process_virtual_memory_bytes", Gauge, "Address space.", process.virtual_bytes);
        page.single("process_threads", Gauge, "Threads.", process.threads);
        page.single("process_open_fds", Gauge, "Open file descriptors.", process.open_fds);
        if let Some(most) = process.max_fds {
            page.single("process_max_fds", Gauge, "How many there may be.", most);
        }
        let help = "When it started, Unix time.";
        page.single("process_start_time_seconds", Gauge, help, process.started_seconds);
    }
}

/// All of them: a kind that is not raised is told as 0.
const ALARMS: [(AlarmKind, &str); 7] = [
    (AlarmKind::Connections, "connections"),
    (AlarmKind::GuestQuality, "guest-quality"),
    (AlarmKind::MediaWorker, "media-worker"),
    (AlarmKind::ObsLost, "obs-lost"),
    (AlarmKind::Disk, "disk"),
    (AlarmKind::Cpu, "cpu"),
    (AlarmKind::Webhook, "webhook"),
];
