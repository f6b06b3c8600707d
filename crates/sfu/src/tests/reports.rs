//! What RTCP tells each side.

use super::client::{Client, Outgoing};
use super::*;
use rtp::ext::AbsSendTime;
use rtp::rtcp::{self, Rtcp, SenderInfo};
use std::collections::BTreeMap;

fn audio(sequence: u64, timestamp: u32, transport_sequence: u16) -> Outgoing {
    Outgoing {
        ssrc: AUDIO_SSRC,
        payload_type: 111,
        sequence,
        timestamp,
        extensions: vec![(TRANSPORT_CC_ID, transport_sequence.to_be_bytes().to_vec())],
        payload: vec![0x78, 1, 2, 3],
    }
}

fn sender_report(ssrc: u32, ntp: u64, rtp_timestamp: u32) -> Vec<u8> {
    let mut out = Vec::new();
    rtcp::write_sender_report(
        &mut out,
        ssrc,
        &SenderInfo { ntp, rtp_timestamp, packet_count: 1, octet_count: 1 },
        &[],
    );
    out
}

#[test]
fn receivers_get_the_senders_clock_translated() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    world.worker.tap(world.now, producer, 5).unwrap();
    let consumer = world.consume(receiver, producer);
    world.send_rtp(sender, &audio(1, 48_000, 1));
    let ntp = 0x1234_5678_0000_0000;
    let report = world.clients[sender].protect_rtcp(&sender_report(AUDIO_SSRC, ntp, 48_000));
    world.send(sender, report);
    assert_eq!(world.heard.reports, [(5, ntp, 48_000)]);
    world.pass_ms(100);
    let reports = |world: &World| {
        world.clients[receiver].rtcp_of(|p| match p {
            Rtcp::SenderReport(report) => Some((report.ssrc, report.info)),
            _ => None,
        })
    };
    let (ssrc, info) = reports(&world)[0];
    assert_eq!(Some(ssrc), consumer.rtp_parameters.encodings[0].ssrc);
    // The pair lies on the sender's own line.
    let elapsed = info.ntp - ntp;
    let ticks = (elapsed * 48_000) >> 32;
    assert!(info.rtp_timestamp.abs_diff(48_000 + ticks as u32) <= 1, "{info:?}");
    assert_eq!(info.packet_count, 1);
    let names = world.clients[receiver].rtcp_of(|p| match p {
        Rtcp::Sdes(sdes) => sdes.chunks().find(|c| c.ssrc == ssrc).map(|c| c.cname.unwrap().to_vec()),
        _ => None,
    });
    assert_eq!(names[0], b"guest");
}

#[test]
fn round_trip_loss_and_jitter_of_a_receiver_are_known_from_its_reports() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    let consumer = world.consume(receiver, producer);
    world.send_rtp(sender, &audio(1, 48_000, 1));
    let report = world.clients[sender].protect_rtcp(&sender_report(AUDIO_SSRC, 1 << 40, 48_000));
    world.send(sender, report);
    world.pass_ms(30);
    let sent = world.clients[receiver].rtcp_of(|p| match p {
        Rtcp::SenderReport(report) => Some((report.ssrc, report.info.compact_ntp())),
        _ => None,
    });
    let (ssrc, last_sr) = sent[0];
    world.pass_ms(180);
    let block = rtcp::ReportBlock {
        ssrc,
        fraction_lost: 26,
        cumulative_lost: 5,
        jitter: 480,
        last_sr,
        // Held for 100 ms.
        delay_since_last_sr: 6_554,
        ..Default::default()
    };
    let mut out = Vec::new();
    rtcp::write_receiver_report(&mut out, 1, &[block]);
    let bytes = world.clients[receiver].protect_rtcp(&out);
    world.send(receiver, bytes);
    let stats = world.worker.consumer_stats(world.now, consumer.id).unwrap();
    assert_eq!((stats.packets_lost, stats.fraction_lost, stats.jitter_ms), (5, 26, 10.0));
    let rtt = stats.rtt_ms.unwrap();
    assert!((80.0..=110.0).contains(&rtt), "{rtt}");
    let transports = [world.clients[receiver].transport];
    let quality = world.worker.quality(world.now, &transports);
    assert_eq!(quality.rtt_ms, Some(rtt));
    assert_eq!(world.worker.quality(world.now, &[]).score, 0);
}

/// What a client heard of its packets: whether each arrived.
fn told_to(client: &Client) -> BTreeMap<u16, bool> {
    let messages = client.rtcp_of(|p| match p {
        Rtcp::TransportFeedback(f) => {
            Some(f.packets().map(|p| (p.sequence, p.arrival_us.is_some())).collect::<Vec<_>>())
        }
        _ => None,
    });
    messages.concat().into_iter().collect()
}

#[test]
fn a_sender_that_says_when_packets_left_hears_nothing_of_a_few_that_are_lost() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    world.consume(receiver, producer);
    for n in 1..200u16 {
        if n % 40 != 0 {
            let mut packet = audio(n.into(), 960 * u32::from(n), n);
            let sent = AbsSendTime::from_ns(u64::from(n) * 20_000_000);
            packet.extensions.push((ABS_SEND_TIME_ID, sent.to_bytes().to_vec()));
            world.send_rtp(sender, &packet);
        }
        world.pass_ms(20);
    }
    world.pass_ms(1_200);
    let told = told_to(&world.clients[sender]);
    let arrived: Vec<_> = (1..200).filter(|n| n % 40 != 0).map(|n| (n, true)).collect();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), arrived);
}

#[test]
fn senders_get_reports_limits_and_arrival_times() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    world.consume(receiver, producer);
    let arrivals = [(1, 0), (2, 20), (5, 60), (6, 80)];
    for (n, at) in arrivals {
        world.send_rtp(sender, &audio(n, 960 * at, n as u16));
        world.pass_ms(20);
    }
    world.pass_ms(1_200);
    let client = &world.clients[sender];
    let blocks = client.rtcp_of(|p| match p {
        Rtcp::ReceiverReport(report) => Some(report.reports.collect::<Vec<_>>()),
        _ => None,
    });
    let last = blocks.concat().into_iter().rev().find(|b| b.cumulative_lost > 0).unwrap();
    assert_eq!((last.ssrc, last.cumulative_lost, last.highest_sequence), (AUDIO_SSRC, 2, 6));
    let limits = client.rtcp_of(|p| if let Rtcp::Remb(r) = p { Some(r.bitrate_bps) } else { None });
    assert!(limits.iter().all(|l| (1_990_000..=2_000_000).contains(l)) && !limits.is_empty(), "{limits:?}");
    let told: Vec<_> = told_to(client).into_iter().collect();
    assert_eq!(told, [(1, true), (2, true), (3, false), (4, false), (5, true), (6, true)]);
}

#[test]
fn the_round_trip_to_a_sender_is_learned_by_xr() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    world.worker.tap(world.now, producer, 1).unwrap();
    world.send_rtp(sender, &audio(1, 0, 1));
    world.pass_ms(50);
    let reference = world.clients[sender].rtcp_of(|p| match p {
        Rtcp::Unknown { packet_type: crate::xr::PACKET_TYPE, body, .. } => Some(body.to_vec()),
        _ => None,
    });
    let (own, ntp) = (&reference[0][..4], &reference[0][8..16]);
    world.pass_ms(70);
    let mut reply = vec![0x80, crate::xr::PACKET_TYPE, 0, 5, 0, 0, 0, 1, 5, 0, 0, 3];
    reply.extend_from_slice(own);
    reply.extend_from_slice(&ntp[2..6]);
    reply.extend_from_slice(&0u32.to_be_bytes());
    let bytes = world.clients[sender].protect_rtcp(&reply);
    world.send(sender, bytes);
    let rtt = world.worker.producer_stats(world.now, producer)[0].rtt_ms.unwrap();
    assert!((70.0..=121.0).contains(&rtt), "{rtt}");
    assert_eq!(world.heard.round_trip_ms, None);
    let report = world.clients[sender].protect_rtcp(&sender_report(AUDIO_SSRC, 1 << 40, 960));
    world.send(sender, report);
    assert_eq!(world.heard.round_trip_ms, Some(rtt as u32), "taps are told with the next report");
}
