//! A thread with more to do than it has time for: that is no congestion of anybody's path.

use super::client::Outgoing;
use super::*;
use crate::transport_feedback::ArrivalLog;

/// What sending to one client takes grows, and shrinks again, as when a game wants the processor for itself.
fn cost(tick: u64) -> Duration {
    let phase = tick % 200;
    Duration::from_micros(phase.min(200 - phase) * 400)
}

#[test]
fn who_is_sent_to_last_does_not_take_the_others_time_for_a_queue() {
    let mut world = World::new();
    let sender = world.sender();
    let [first, last] = [world.receiver(), world.receiver()];
    let video = world.produce(sender, MediaKind::Video, vp8());
    for receiver in [first, last] {
        world.consume(receiver, video);
        world.clients[receiver].arrivals = Some((CONSUMED_TRANSPORT_CC_ID, ArrivalLog::new()));
    }
    let mut least = u64::MAX;
    for tick in 0..2_000u64 {
        world.now += Duration::from_millis(10);
        if tick.is_multiple_of(200) {
            [first, last].into_iter().for_each(|receiver| world.check(receiver));
        }
        for sequence in tick * 8..tick * 8 + 8 {
            let packet =
                Outgoing { timestamp: tick as u32 * 900, ..vp8_packet(sequence, sequence % 800 == 0, 1_000) };
            let datagram = world.clients[sender].rtp(&packet);
            world.send(sender, datagram);
        }
        world.worker.handle_timeout(world.now);
        let World { worker, clients, now, .. } = &mut world;
        let (mut at, address) = (*now, clients[first].address);
        worker.flush_timed(*now, &mut |transmit| {
            if transmit.destination == address {
                at += cost(tick);
            }
            let client = clients.iter_mut().find(|client| client.address == transmit.destination).unwrap();
            for segment in transmit.contents.chunks(transmit.segment_size) {
                client.handle(at, segment.to_vec());
            }
            at
        });
        if tick.is_multiple_of(5) {
            for receiver in [first, last] {
                for feedback in world.clients[receiver].feedback() {
                    world.send(receiver, feedback);
                }
            }
        }
        if tick > 500 {
            let stats = world.worker.transport_stats(world.now, world.clients[last].transport).unwrap();
            least = least.min(stats.available_outgoing_bitrate.unwrap());
        }
    }
    assert!(least > 8_000_000, "6.5 Mbit/s flow, and the path would carry anything: {least}");
}
