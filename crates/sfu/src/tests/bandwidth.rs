//! Calls over paths that are too narrow, get narrower, and get wide again.

use super::client::Outgoing;
use super::*;
use crate::transport_feedback::ArrivalLog;
use rtp::rtcp::Rtcp;
use std::collections::VecDeque;

/// A guest's camera: three layers at 30 frames a second, each in packets of at most 1,000 octets.
const RATES: [usize; 3] = [150_000, 500_000, 1_500_000];
/// A layer's keyframe is so many of its frames.
const KEYFRAME: usize = 6;

/// The last stretch of the way to one client: a queue that forgets nothing for half a second, and a link behind it.
struct Link {
    capacity: f64,
    free_at: Instant,
    buffer: Duration,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    longest_queue: Duration,
    /// Of sound.
    longest_delay: Duration,
    dropped: usize,
}

const DELAY: Duration = Duration::from_millis(20);

impl Link {
    fn new(now: Instant, capacity: f64) -> Self {
        Self {
            capacity,
            free_at: now,
            buffer: Duration::from_secs(1),
            under_way: VecDeque::new(),
            longest_queue: Duration::ZERO,
            longest_delay: Duration::ZERO,
            dropped: 0,
        }
    }

    fn push(&mut self, now: Instant, datagram: Vec<u8>) {
        let queue = self.free_at.saturating_duration_since(now);
        self.longest_queue = self.longest_queue.max(queue);
        if queue > self.buffer {
            self.dropped += 1;
            return;
        }
        let time = Duration::from_secs_f64(datagram.len() as f64 * 8.0 / self.capacity);
        self.free_at = self.free_at.max(now) + time;
        self.under_way.push_back((self.free_at + DELAY, datagram));
    }

    fn forget(&mut self) {
        (self.longest_queue, self.longest_delay, self.dropped) = (Duration::ZERO, Duration::ZERO, 0);
    }
}

/// One guest sends sound and a camera; others receive both.
struct Call {
    world: World,
    sender: usize,
    /// More guests whose cameras send the same.
    others: Vec<usize>,
    layers: usize,
    receivers: Vec<(usize, Link)>,
    /// Clients' answers on their way.
    answers: VecDeque<(Instant, usize, Vec<u8>)>,
    consumers: Vec<ConsumerId>,
    sequences: [u64; 3],
    sound: u64,
    keyframe_wanted: [bool; 3],
    ticks: u64,
}

impl Call {
    /// `layers` of [`RATES`], the best ones; a receiver for each capacity.
    fn new(layers: usize, capacities: &[f64]) -> Self {
        let mut world = World::new();
        let sender = world.sender();
        let audio = world.produce(sender, MediaKind::Audio, opus());
        let mut parameters = simulcast();
        if layers == 1 {
            parameters = vp8();
        } else {
            let layer = |n: usize| RtpEncodingParameters { rid: Some(format!("r{n}")), ..Default::default() };
            parameters.encodings = (0..layers).map(layer).collect();
        }
        let video = world.produce(sender, MediaKind::Video, parameters);
        let mut call = Self {
            sender,
            others: Vec::new(),
            layers,
            receivers: Vec::new(),
            answers: VecDeque::new(),
            consumers: Vec::new(),
            sequences: [100; 3],
            sound: 100,
            keyframe_wanted: [true; 3],
            ticks: 0,
            world,
        };
        for &capacity in capacities {
            let receiver = call.world.receiver();
            call.world.consume(receiver, audio);
            call.consumers.push(call.world.consume(receiver, video).id);
            call.world.clients[receiver].arrivals = Some((CONSUMED_TRANSPORT_CC_ID, ArrivalLog::new()));
            let now = call.world.now;
            call.receivers.push((receiver, Link::new(now, capacity)));
        }
        call
    }

    /// Lets time pass in steps of a millisecond, everybody doing what they do.
    fn pass(&mut self, duration: Duration) {
        let end = self.world.now + duration;
        while self.world.now < end {
            self.world.now += Duration::from_millis(1);
            self.ticks += 1;
            self.send_media();
            let now = self.world.now;
            while self.answers.front().is_some_and(|(at, ..)| *at <= now) {
                let (_, client, datagram) = self.answers.pop_front().unwrap();
                self.world.send(client, datagram);
            }
            if self.world.worker.poll_timeout().is_some_and(|at| at <= now) {
                self.world.worker.handle_timeout(now);
            }
            self.carry();
            self.answer();
        }
    }

    fn pass_secs(&mut self, seconds: f64) {
        self.pass(Duration::from_secs_f64(seconds));
    }

    fn send_media(&mut self) {
        if self.ticks.is_multiple_of(20) {
            let packet = Outgoing {
                ssrc: AUDIO_SSRC,
                payload_type: 111,
                sequence: self.sound,
                timestamp: self.sound as u32 * 960,
                payload: self.ticks.to_be_bytes().repeat(10),
                ..Default::default()
            };
            self.sound += 1;
            self.world.send_rtp(self.sender, &packet);
        }
        if !self.ticks.is_multiple_of(33) {
            return;
        }
        let picture = (self.ticks / 33) as u16;
        for layer in 0..self.layers {
            let key = std::mem::take(&mut self.keyframe_wanted[layer]);
            let rate = RATES[layer + RATES.len() - self.layers];
            let mut left = rate / 8 / 30 * if key { KEYFRAME } else { 1 };
            let mut is_first = true;
            while left > 0 {
                let len = left.min(1_000);
                left -= len;
                let mut payload = vp8_payload(picture, key, len);
                if !is_first {
                    // Not the beginning of a frame.
                    payload[0] = 0x80;
                }
                is_first = false;
                let mut packet = Outgoing {
                    ssrc: 1_000 + layer as u32,
                    payload_type: 96,
                    sequence: self.sequences[layer],
                    timestamp: self.ticks as u32 * 90,
                    extensions: vec![(MID_ID, b"2".to_vec()), (RID_ID, format!("r{layer}").into_bytes())],
                    payload,
                };
                if self.layers == 1 {
                    (packet.ssrc, packet.extensions) = (VIDEO_SSRC, Vec::new());
                }
                self.sequences[layer] += 1;
                for sender in std::iter::once(self.sender).chain(self.others.iter().copied()) {
                    self.world.send_rtp(sender, &packet);
                }
            }
        }
    }

    fn carry(&mut self) {
        let now = self.world.now;
        let mut sent = Vec::new();
        self.world.worker.flush(now, &mut |transmit| {
            for segment in transmit.contents.chunks(transmit.segment_size) {
                sent.push((transmit.destination, segment.to_vec()));
            }
        });
        while let Some(event) = self.world.worker.poll_event() {
            self.world.events.push(event);
        }
        for (to, datagram) in sent {
            let client = self.world.clients.iter().position(|c| c.address == to).unwrap();
            match self.receivers.iter_mut().find(|(receiver, _)| *receiver == client) {
                Some((_, link)) => link.push(now, datagram),
                None => self.world.clients[client].handle(now, datagram),
            }
        }
        for (receiver, link) in &mut self.receivers {
            while link.under_way.front().is_some_and(|(at, _)| *at <= now) {
                let (_, datagram) = link.under_way.pop_front().unwrap();
                let client = &mut self.world.clients[*receiver];
                let before = client.received.len();
                client.handle(now, datagram);
                if let Some(packet) = client.received.get(before).filter(|p| p.payload_type == 100) {
                    let sent_at = u64::from_be_bytes(packet.payload[..8].try_into().unwrap());
                    link.longest_delay = link.longest_delay.max(Duration::from_millis(self.ticks - sent_at));
                }
            }
        }
    }

    /// Feedback every 50 ms, checks every second, keyframes as they are asked for.
    fn answer(&mut self) {
        let at = self.world.now + DELAY;
        for index in 0..self.receivers.len() {
            let receiver = self.receivers[index].0;
            if self.ticks.is_multiple_of(50) {
                let client = &mut self.world.clients[receiver];
                let messages = client.feedback();
                self.answers.extend(messages.into_iter().map(|bytes| (at, receiver, bytes)));
            }
            if self.ticks.is_multiple_of(1_000) {
                self.world.check(receiver);
            }
        }
        if self.ticks.is_multiple_of(1_000) {
            self.world.check(self.sender);
            self.others.clone().into_iter().for_each(|other| self.world.check(other));
        }
        for sender in std::iter::once(self.sender).chain(self.others.iter().copied()) {
            let asked = self.world.clients[sender].rtcp_of(|p| match p {
                Rtcp::Pli(pli) => Some(pli.media_ssrc),
                _ => None,
            });
            for ssrc in asked {
                self.keyframe_wanted[if ssrc == VIDEO_SSRC { 0 } else { (ssrc - 1_000) as usize }] = true;
            }
            self.world.clients[sender].rtcp.clear();
        }
    }

    fn estimate(&self, index: usize) -> u64 {
        let transport = self.world.clients[self.receivers[index].0].transport;
        self.world.worker.quality(self.world.now, &[transport]).available_bitrate.unwrap()
    }

    /// Video bit/s that a receiver got during the next second, repairs and padding aside.
    fn picture_rate(&mut self, index: usize) -> usize {
        let receiver = self.receivers[index].0;
        let before = self.world.clients[receiver].received.len();
        self.pass_secs(1.0);
        let received = &self.world.clients[receiver].received[before..];
        received.iter().filter(|p| p.payload_type == 101).map(|p| p.payload.len() * 8).sum()
    }

    /// What the last events said of a consumer's layers: spatial, or none.
    fn told(&self, index: usize) -> Option<Option<u8>> {
        self.world.events.iter().rev().find_map(|event| match event {
            Event::ConsumerLayersChanged { consumer, layers } if *consumer == self.consumers[index] => {
                Some(layers.map(|l| l.spatial))
            }
            _ => None,
        })
    }

    /// Whether a receiver's pictures have no gap in their numbers, but for what the link dropped.
    fn is_gapless(&self, index: usize) -> bool {
        let received = &self.world.clients[self.receivers[index].0].received;
        let numbers: Vec<_> = received.iter().filter(|p| p.payload_type == 101).map(|p| p.sequence).collect();
        numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1))
    }
}

#[test]
fn a_wide_path_carries_the_best_layer_within_a_second() {
    let mut call = Call::new(3, &[50e6]);
    call.pass_secs(1.0);
    assert!(call.estimate(0) > 2_000_000, "{}", call.estimate(0));
    assert!(call.picture_rate(0) > 1_300_000);
    assert_eq!(call.told(0), Some(Some(2)));
    assert!(call.is_gapless(0));
}

#[test]
fn a_cap_costs_layers_not_time_and_its_end_brings_them_back() {
    let mut call = Call::new(3, &[20e6, 20e6]);
    call.pass_secs(10.0);
    assert_eq!(call.told(0), Some(Some(2)));
    call.receivers[0].1.capacity = 1e6;
    call.receivers[0].1.forget();
    call.pass_secs(3.0);
    let (queue, delay) = (call.receivers[0].1.longest_queue, call.receivers[0].1.longest_delay);
    assert!(queue < Duration::from_millis(600), "{queue:?}");
    assert!(delay < Duration::from_millis(600), "of sound: {delay:?}");
    assert_eq!(call.told(0), Some(Some(1)), "{}", call.estimate(0));
    for _ in 0..20 {
        call.receivers[0].1.forget();
        let rate = call.picture_rate(0);
        assert!((100_000..700_000).contains(&rate), "{rate}");
        assert!(call.receivers[0].1.longest_delay < Duration::from_millis(200));
        assert_eq!(call.receivers[0].1.dropped, 0);
    }
    call.receivers[0].1.capacity = 20e6;
    let mut seconds = 0;
    while call.picture_rate(0) < 1_300_000 {
        seconds += 1;
        assert!(seconds < 10, "{} {:?}", call.estimate(0), call.told(0));
    }
    assert!(call.is_gapless(0));

    // The other one noticed nothing.
    assert_eq!(call.told(1), Some(Some(2)));
    assert!(call.is_gapless(1));
    let changes = call.world.events.iter().filter(
        |e| matches!(e, Event::ConsumerLayersChanged { consumer, .. } if *consumer == call.consumers[1]),
    );
    assert!(changes.count() <= 4, "{:?}", call.world.events);
}

#[test]
fn a_picture_that_does_not_fit_at_all_is_left_out_and_comes_back() {
    let mut call = Call::new(1, &[20e6]);
    call.pass_secs(5.0);
    assert!(call.picture_rate(0) > 1_300_000);
    call.receivers[0].1.capacity = 700e3;
    call.pass_secs(3.0);
    assert_eq!(call.told(0), Some(None), "{}", call.estimate(0));
    for _ in 0..20 {
        call.receivers[0].1.forget();
        assert_eq!(call.picture_rate(0), 0);
        assert!(call.receivers[0].1.longest_delay < Duration::from_millis(100), "sound goes on");
    }
    call.receivers[0].1.capacity = 20e6;
    let mut seconds = 0;
    while call.picture_rate(0) < 1_300_000 {
        seconds += 1;
        assert!(seconds < 10, "{} {:?}", call.estimate(0), call.told(0));
    }
    assert_eq!(call.told(0), Some(Some(0)));
    assert!(call.is_gapless(0), "what waited and was dropped took no numbers");
}

#[test]
fn a_path_that_is_narrow_from_the_start_is_never_flooded() {
    let mut call = Call::new(3, &[600e3]);
    call.pass_secs(3.0);
    assert!(
        call.receivers[0].1.longest_queue < Duration::from_millis(600),
        "{:?}",
        call.receivers[0].1.longest_queue
    );
    for _ in 0..10 {
        call.receivers[0].1.forget();
        assert!((100_000..600_000).contains(&call.picture_rate(0)));
        assert!(call.receivers[0].1.longest_queue < Duration::from_millis(250));
    }
}

impl Call {
    /// The receiver is at another address from now on, behind a link of that capacity.
    fn move_to(&mut self, index: usize, address: &str, capacity: f64) {
        // What is on its way to the old one is lost.
        self.carry();
        let (receiver, link) = &mut self.receivers[index];
        *link = Link::new(self.world.now, capacity);
        self.world.clients[*receiver].address = address.parse().unwrap();
        self.world.check(*receiver);
    }
}

#[test]
fn a_receiver_in_another_network_is_measured_anew() {
    let mut call = Call::new(3, &[20e6]);
    call.pass_secs(10.0);
    assert_eq!(call.told(0), Some(Some(2)));
    // From a cable to a weak mobile network: what the cable carried would fill its queue for half a second.
    call.move_to(0, "203.0.113.1:5000", 700e3);
    call.pass_secs(3.0);
    let queue = call.receivers[0].1.longest_queue;
    assert!(queue < Duration::from_millis(400), "{queue:?}");
    assert!((100_000..700_000).contains(&call.picture_rate(0)));
    call.pass_secs(10.0);
    // And back: what the narrow one carried is no reason to climb for long.
    call.move_to(0, "203.0.113.2:5000", 20e6);
    call.pass_secs(2.0);
    assert_eq!(call.told(0), Some(Some(2)), "{}", call.estimate(0));
}

#[test]
fn a_nat_that_gives_another_port_is_no_other_path() {
    let mut call = Call::new(3, &[20e6]);
    call.pass_secs(10.0);
    let (before, home) = (call.estimate(0), call.world.clients[call.receivers[0].0].address);
    call.move_to(0, &format!("{}:{}", home.ip(), home.port() ^ 1), 20e6);
    call.pass_secs(0.2);
    assert!(call.estimate(0) > before / 2, "{before}, then {}", call.estimate(0));
    assert_eq!(call.told(0), Some(Some(2)));
}

#[test]
fn a_client_without_feedback_gets_everything_and_loss_in_its_reports_slows_it() {
    let mut call = Call::new(3, &[50e6]);
    call.world.clients[call.receivers[0].0].arrivals = None;
    call.pass_secs(5.0);
    assert!(call.picture_rate(0) > 1_300_000);
    let receiver = call.receivers[0].0;
    let ssrc = call.world.clients[receiver].received.iter().find(|p| p.payload_type == 101).unwrap().ssrc;
    for n in 1..8u32 {
        let block = rtp::rtcp::ReportBlock {
            ssrc,
            cumulative_lost: n as i32 * 60,
            highest_sequence: n * 150,
            ..Default::default()
        };
        let mut out = Vec::new();
        rtp::rtcp::write_receiver_report(&mut out, 1, &[block]);
        let bytes = call.world.clients[receiver].protect_rtcp(&out);
        call.world.send(receiver, bytes);
        call.pass_secs(1.0);
    }
    assert!(call.estimate(0) < 1_500_000, "{}", call.estimate(0));
    assert!(call.picture_rate(0) < 1_000_000);
}

/// Sends pictures at `rate` bit/s for a second; how many octets `receiver` got of them.
fn flood(world: &mut World, sender: usize, receiver: usize, from: u64, rate: usize) -> usize {
    let before = world.clients[receiver].received.len();
    let packets = rate / 8_000;
    for n in 0..packets as u64 {
        let packet = Outgoing {
            ssrc: VIDEO_SSRC,
            payload_type: 96,
            sequence: from + n,
            timestamp: (from + n) as u32 * 3_000,
            payload: vp8_payload(n as u16, n.is_multiple_of(10), 1_000),
            ..Default::default()
        };
        world.send_rtp(sender, &packet);
        world.pass(Duration::from_micros(1_000_000 / packets as u64));
    }
    world.check(receiver);
    world.check(sender);
    world.clients[receiver].received[before..]
        .iter()
        .filter(|p| p.payload_type == 101)
        .map(|p| p.payload.len())
        .sum()
}

#[test]
fn who_agreed_to_no_measure_of_its_path_gets_everything_at_once() {
    let mut world = World::new();
    let (sender, receiver) = (world.sender(), world.receiver());
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let mut capabilities = world.worker.router_rtp_capabilities();
    for codec in &mut capabilities.codecs {
        codec.rtcp_feedback.retain(|f| !matches!(f.kind.as_str(), "transport-cc" | "goog-remb"));
    }
    world.consume_as(receiver, producer, capabilities);
    // From the first packet on, far above the rate that others begin with; the last few leave with the next tick.
    let heard = flood(&mut world, sender, receiver, 0, 1_800_000);
    assert!((220 * 1_005..=225 * 1_005).contains(&heard), "{heard}");
    assert_eq!(
        world
            .worker
            .transport_stats(world.now, world.clients[receiver].transport)
            .unwrap()
            .available_outgoing_bitrate,
        None
    );
}

#[test]
fn who_ignores_its_limit_is_cut_down_to_it_and_told_the_limit_at_once() {
    let mut world = World::new();
    let (sender, receiver) = (world.sender(), world.receiver());
    let producer = world.produce(sender, MediaKind::Video, vp8());
    world.consume(receiver, producer);
    let remb = |world: &World| {
        let told = world.clients[sender].rtcp_of(|p| match p {
            Rtcp::Remb(remb) => Some(remb.bitrate_bps),
            _ => None,
        });
        told.last().copied().unwrap()
    };
    let mut sequence = 100;
    flood(&mut world, sender, receiver, 50, 8_000);
    world.pass_ms(3_000);
    for _ in 0..10 {
        assert!(flood(&mut world, sender, receiver, sequence, 2_400_000) > 280_000);
        sequence += 300;
    }
    assert!((1_990_000..=2_000_000).contains(&remb(&world)));
    let transport = world.clients[sender].transport;
    world.worker.set_max_incoming_bitrate(world.now, transport, 500_000).unwrap();
    world.pass_ms(30);
    assert!((490_000..=500_000).contains(&remb(&world)));
    let mut passed = 0;
    let plis = world.clients[sender].plis();
    for second in 0..20 {
        let octets = flood(&mut world, sender, receiver, sequence, 2_400_000);
        sequence += 300;
        passed += if second >= 10 { octets } else { 0 };
    }
    let rate = passed * 8 / 10;
    assert!((200_000..800_000).contains(&rate), "{rate}");
    assert!(world.clients[sender].plis() > plis + 3, "each time it goes on, from a keyframe");
    world.worker.set_max_incoming_bitrate(world.now, transport, 5_000_000).unwrap();
    for _ in 0..3 {
        passed = flood(&mut world, sender, receiver, sequence, 2_400_000);
        sequence += 300;
    }
    assert!(passed > 280_000, "a guest on air may send more: {passed}");
}

#[test]
fn who_is_on_air_comes_first() {
    let mut call = Call::new(3, &[20e6]);
    let other = call.world.sender();
    let mut parameters = simulcast();
    let layer = |n: usize| RtpEncodingParameters { rid: Some(format!("r{n}")), ..Default::default() };
    parameters.encodings = (0..3).map(layer).collect();
    let second = call.world.produce(other, MediaKind::Video, parameters);
    let receiver = call.receivers[0].0;
    let consumer = call.world.consume(receiver, second);
    call.others.push(other);
    call.consumers.push(consumer.id);
    call.pass_secs(5.0);
    assert_eq!([call.told(0), call.told(1)], [Some(Some(2)); 2]);
    call.receivers[0].1.capacity = 1.2e6;
    call.world.worker.set_important(second, true).unwrap();
    call.pass_secs(15.0);
    let (first, second) = (call.told(0).unwrap(), call.told(1).unwrap());
    assert!(second > first, "{first:?} {second:?}");
    assert_eq!(second, Some(1));
}
