//! The steady state asks the allocator for nothing.

use super::client::Outgoing;
use super::*;
use crate::transport_feedback::ArrivalLog;

/// Takes everything, keeps nothing.
struct Deaf;

impl TapSink for Deaf {
    fn rtp(&mut self, _tag: u32, _arrival: Instant, _packet: &[u8]) {}
    fn sender_report(&mut self, _tag: u32, _arrival: Instant, _ntp: u64, _rtp_timestamp: u32) {}
    fn round_trip(&mut self, _tag: u32, _now: Instant, _ms: u32) {}
}

/// Twenty milliseconds of a guest: one packet of sound, four of pictures, of which one goes missing now and then and
/// comes back.
fn moment(world: &World, sender: usize, n: u64) -> Vec<Vec<u8>> {
    let client = &world.clients[sender];
    let audio = Outgoing {
        ssrc: AUDIO_SSRC,
        payload_type: 111,
        sequence: n,
        timestamp: n as u32 * 960,
        extensions: vec![
            (MID_ID, b"0".to_vec()),
            (LEVEL_ID, vec![40]),
            (TRANSPORT_CC_ID, (n as u16 * 5).to_be_bytes().to_vec()),
        ],
        payload: vec![0x78; 80],
    };
    let video = |sequence: u64| Outgoing {
        ssrc: VIDEO_SSRC,
        payload_type: 96,
        sequence,
        timestamp: n as u32 * 1_800,
        extensions: vec![(TRANSPORT_CC_ID, (n as u16 * 5 + 1).to_be_bytes().to_vec())],
        payload: vp8_payload(n as u16, sequence.is_multiple_of(400), 1_000),
    };
    let mut datagrams = vec![client.rtp(&audio)];
    for sequence in n * 4..n * 4 + 4 {
        if sequence % 100 != 50 {
            datagrams.push(client.rtp(&video(sequence)));
        }
    }
    if (n * 4) % 100 == 56 {
        let lost = video(n * 4 - 6);
        let payload = [&(lost.sequence as u16).to_be_bytes()[..], &lost.payload].concat();
        datagrams.push(client.rtp(&Outgoing {
            ssrc: RTX_SSRC,
            payload_type: 97,
            sequence: n,
            payload,
            ..lost
        }));
    }
    datagrams
}

#[test]
fn forwarding_allocates_nothing_once_it_runs() {
    let mut world = World::new();
    let sender = world.sender();
    let receivers = [world.receiver(), world.receiver(), world.receiver()];
    for receiver in receivers {
        world.clients[receiver].arrivals = Some((CONSUMED_TRANSPORT_CC_ID, ArrivalLog::new()));
    }
    let audio = world.produce(sender, MediaKind::Audio, opus());
    let video = world.produce(sender, MediaKind::Video, vp8());
    for receiver in receivers {
        world.consume(receiver, audio);
        world.consume(receiver, video);
    }
    world.worker.tap(world.now, audio, 1).unwrap();
    world.worker.tap(world.now, video, 2).unwrap();
    let mut info = rtp::rtcp::SenderInfo { ntp: 1 << 40, rtp_timestamp: 0, packet_count: 1, octet_count: 1 };
    for ssrc in [AUDIO_SSRC, VIDEO_SSRC] {
        info.ntp += 1;
        let mut report = Vec::new();
        rtp::rtcp::write_sender_report(&mut report, ssrc, &info, &[]);
        let bytes = world.clients[sender].protect_rtcp(&report);
        world.send(sender, bytes);
    }
    let (packets, allocations) = measure(&mut world, &receivers, sender, moment);
    assert!(packets > 15_000, "{packets}");
    assert_eq!(allocations, 0);
}

#[test]
fn leaving_layers_out_allocates_nothing_either() {
    let mut world = World::new();
    let sender = world.sender();
    let receivers = [world.receiver(), world.receiver(), world.receiver()];
    let mut thin = vp8();
    thin.encodings[0].scalability_mode = Some("L1T3".into());
    let thin = world.produce(sender, MediaKind::Video, thin);
    for (temporal, receiver) in receivers.into_iter().enumerate() {
        let consumer = world.consume(receiver, thin).id;
        world.worker.set_preferred_layers(consumer, 0, Some(temporal as u8)).unwrap();
    }
    let tap = world.worker.tap(world.now, thin, 1).unwrap();
    world.worker.set_tap_layers(tap, Some(crate::Layers::new(0, 1)));
    let one = |world: &World, sender: usize, n: u64| {
        vec![world.clients[sender].rtp(&super::layers::vp8_picture(n, n.is_multiple_of(100)))]
    };
    let (packets, allocations) = measure(&mut world, &receivers, sender, one);
    assert!((1_700..1_900).contains(&packets), "{packets}");
    assert_eq!(allocations, 0);
}

/// Twenty seconds of such moments: packets that went out, and allocations in the second half.
fn measure(
    world: &mut World,
    receivers: &[usize],
    sender: usize,
    moment: impl Fn(&World, usize, u64) -> Vec<Vec<u8>>,
) -> (u64, u64) {
    let from = world.clients[sender].address;
    let (mut packets_out, mut allocations) = (0u64, 0);
    for n in 0..1_000u64 {
        let mut datagrams = moment(world, sender, n);
        world.now += Duration::from_millis(20);
        if n % 100 == 0 {
            for receiver in receivers {
                world.check(*receiver);
            }
        }
        let mut feedback: Vec<_> =
            world.clients.iter_mut().flat_map(|c| std::iter::repeat(c.address).zip(c.feedback())).collect();
        let mut sent = Vec::with_capacity(256);
        let mut octets = Vec::with_capacity(256 * 1_500);
        let World { worker, now, clients, .. } = &mut *world;
        let run = allocation_counter::measure(|| {
            for datagram in &mut datagrams {
                worker.handle_datagram(*now, from, datagram, &mut Deaf);
            }
            for (from, message) in &mut feedback {
                worker.handle_datagram(*now, *from, message, &mut Deaf);
            }
            worker.handle_timeout(*now);
            worker.flush(*now, &mut |transmit| {
                octets.extend_from_slice(transmit.contents);
                sent.push((transmit.destination, transmit.contents.len(), transmit.segment_size));
            });
        });
        let mut rest = octets.as_slice();
        for (to, len, segment_size) in sent {
            let (contents, tail) = rest.split_at(len);
            rest = tail;
            let client = clients.iter_mut().find(|c| c.address == to).unwrap();
            for segment in contents.chunks(segment_size) {
                packets_out += 1;
                client.handle(*now, segment.to_vec());
            }
        }
        // Buffers, rings and tables reach their size in the first ten seconds.
        if n >= 500 {
            allocations += run.count_total;
        }
    }
    (packets_out, allocations)
}

/// An hour of a busy house: every few seconds a guest comes, is seen and heard, and goes.
#[test]
fn guests_who_come_and_go_leave_no_memory_behind() {
    let mut world = World::new();
    let host = world.receiver();
    let rounds = |world: &mut World, rounds: u32| {
        for _ in 0..rounds {
            let sender = world.sender();
            let audio = world.produce(sender, MediaKind::Audio, opus());
            let video = world.produce(sender, MediaKind::Video, vp8());
            world.consume(host, audio);
            world.consume(host, video);
            world.check(host);
            for n in 0..5 {
                for datagram in moment(world, sender, n) {
                    world.send(sender, datagram);
                }
                world.pass_ms(20);
            }
            world.worker.close_transport(world.clients[sender].transport);
            world.pass_ms(3_000);
            let seen = &mut world.clients[host];
            assert!(seen.received.len() >= 20, "{} packets were forwarded", seen.received.len());
            // What the story itself remembers is not the worker's.
            (seen.received, seen.rtcp, seen.stun_answers, seen.extenders) = Default::default();
            world.clients.truncate(1);
            world.heard = Heard::default();
            world.events = Vec::new();
            world.astray = Vec::new();
        }
    };
    rounds(&mut world, 100);
    let grown = allocation_counter::measure(|| rounds(&mut world, 1_000)).bytes_current;
    assert!(grown.abs() < 16 * 1024, "{grown} octets more after a thousand guests");
}
