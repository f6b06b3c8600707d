//! What one forwarded packet costs without sockets: run by hand, in release (`cargo test --release -p greenroom-sfu
//! -- --ignored --nocapture cost`). The whole figure, with the kernel's part, is `cargo xtask bench forward`'s.

use super::client::Outgoing;
use super::*;
use crate::transport_feedback::ArrivalLog;

const SENDERS: usize = 15;
const RECEIVERS: usize = 60;
/// Datagrams that a busy thread finds together.
const ROUND: usize = 8;
const ROUNDS: u64 = 4_000;

#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods)]
fn cost_of_a_forwarded_packet() {
    let mut world = World::new();
    let senders: Vec<usize> = (0..SENDERS).map(|_| world.sender()).collect();
    let receivers: Vec<usize> = (0..RECEIVERS).map(|_| world.receiver()).collect();
    let producers: Vec<_> = senders.iter().map(|s| world.produce(*s, MediaKind::Video, vp8())).collect();
    for receiver in &receivers {
        world.clients[*receiver].arrivals = Some((CONSUMED_TRANSPORT_CC_ID, ArrivalLog::new()));
    }
    for producer in producers {
        for receiver in &receivers {
            world.consume(*receiver, producer);
        }
    }
    world.worker.set_gathering(true);
    let mut payload = vp8_payload(0, true, 1_000);
    let (mut spent, mut packets, mut octets) = (Duration::ZERO, 0u64, 0u64);
    let mut sequence = [0u64; SENDERS];
    let mut next = 0;
    for round in 0..ROUNDS {
        // 227 packets a second of each sender.
        world.now += Duration::from_nanos(1_000_000_000 * ROUND as u64 / (227 * SENDERS as u64));
        if round % 400 == 0 {
            for client in 0..world.clients.len() {
                world.check(client);
            }
        }
        let mut datagrams = Vec::new();
        for _ in 0..ROUND {
            let sender = senders[next % SENDERS];
            let n = sequence[next % SENDERS];
            sequence[next % SENDERS] += 1;
            next += 1;
            payload.splice(..5, vp8_payload((n / 8) as u16, n.is_multiple_of(200), 0));
            let packet = Outgoing {
                ssrc: VIDEO_SSRC,
                payload_type: 96,
                sequence: n,
                timestamp: (n / 8) as u32 * 3_000,
                extensions: vec![
                    (MID_ID, b"1".to_vec()),
                    (TRANSPORT_CC_ID, (n as u16).to_be_bytes().to_vec()),
                ],
                payload: payload.clone(),
            };
            datagrams.push((world.clients[sender].address, world.clients[sender].rtp(&packet)));
        }
        for client in world.clients.iter_mut().filter(|_| round % 20 == 0) {
            let from = client.address;
            datagrams.extend(client.feedback().into_iter().map(|message| (from, message)));
        }
        let mut sent: Vec<(SocketAddr, Vec<u8>, usize)> = Vec::with_capacity(256);
        let World { worker, now, heard, .. } = &mut world;
        let began = Instant::now();
        for (from, datagram) in &mut datagrams {
            worker.handle_datagram(*now, *from, datagram, heard);
        }
        spent += began.elapsed();
        let mut inside = Duration::ZERO;
        let began = Instant::now();
        worker.flush(*now, &mut |transmit| {
            let at = Instant::now();
            sent.push((transmit.destination, transmit.contents.to_vec(), transmit.segment_size));
            inside += at.elapsed();
        });
        spent += began.elapsed().saturating_sub(inside);
        let began = Instant::now();
        worker.handle_timeout(*now);
        spent += began.elapsed();
        for (to, contents, size) in sent {
            let last = to.ip().to_string().rsplit('.').next().and_then(|n| n.parse::<usize>().ok()).unwrap();
            for segment in contents.chunks(size) {
                packets += 1;
                octets += segment.len() as u64;
                world.clients[last - 1].handle(world.now, segment.to_vec());
            }
        }
        for client in &mut world.clients {
            client.received.clear();
            client.rtcp.clear();
        }
        if round == ROUNDS / 2 {
            (spent, packets, octets) = Default::default();
        }
    }
    let ns = spent.as_nanos() as u64 / packets.max(1);
    println!("{ns} ns a packet, {packets} packets of {} octets", octets / packets.max(1));
}
