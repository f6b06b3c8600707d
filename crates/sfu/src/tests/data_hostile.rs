//! Clients who are who they say, and use data channels to do harm.

use super::data::{binary, text};
use super::*;
use crate::sctp::{Delivery, Event as SctpEvent, Kind, Message, dcep, seal};
use bytes::Bytes;

fn data_chunk(flags: u8, tsn: u32, stream: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut chunk = vec![0, flags];
    chunk.extend((16 + payload.len() as u16).to_be_bytes());
    chunk.extend(tsn.to_be_bytes());
    chunk.extend(stream.to_be_bytes());
    chunk.extend(sequence.to_be_bytes());
    chunk.extend(53u32.to_be_bytes());
    chunk.extend(payload);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

const WHOLE: u8 = 3;

impl World {
    /// Sends forged chunks over a client's association.
    fn forge(&mut self, client: usize, chunks: &[Vec<u8>]) {
        let mut packet = self.clients[client].sctp_sent.last().unwrap()[..12].to_vec();
        packet.extend(chunks.concat());
        seal(&mut packet);
        self.clients[client].send_application_data(&packet);
        self.settle();
    }

    /// The TSN after those a client has used.
    fn next_tsn(&self, client: usize) -> u32 {
        let init = &self.clients[client].sctp_sent[0];
        assert_eq!(init[12], 1);
        u32::from_be_bytes(init[28..32].try_into().unwrap())
    }

    fn lost(&self, producer: wire::DataProducerId) -> Option<String> {
        self.events.iter().find_map(|event| match event {
            Event::DataProducerClosed { data_producer, reason } if *data_producer == producer => {
                Some(reason.clone())
            }
            _ => None,
        })
    }
}

#[test]
fn forged_chunks_that_are_well_formed_are_heard() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
    let (_, stream) = world.consume_data(receiver, producer);
    let tsn = world.next_tsn(sender);
    world.forge(
        sender,
        &[data_chunk(WHOLE, tsn, 0, 0, b"fine"), data_chunk(WHOLE, tsn.wrapping_add(1), 0, 1, b"too")],
    );
    assert_eq!(world.heard_on(receiver, stream), [binary(*b"fine"), binary(*b"too")]);
}

#[test]
fn too_long_a_message_ends_the_senders_channels_in_words() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
    let (_, stream) = world.consume_data(receiver, producer);
    world.say(sender, 0, Delivery::RELIABLE, &binary(vec![0; 262_145]));
    world.pass_ms(2_000);
    assert!(world.heard_on(receiver, stream).is_empty());
    assert!(world.lost(producer).unwrap().contains("over 262144 octets"));
    let told = &world.clients[sender].sctp_events;
    assert!(told.iter().any(|event| matches!(event, SctpEvent::Lost { .. })), "{told:?}");
    let transport = world.clients[sender].transport;
    let stats = world.worker.transport_stats(world.now, transport).unwrap();
    assert_eq!(stats.sctp_state.as_deref(), Some("closed"));
    let again =
        world.worker.produce_data(transport, &Delivery::RELIABLE.parameters(1), "a".into(), "".into());
    assert!(again.unwrap_err().to_string().contains("another transport"));
}

#[test]
fn data_beyond_the_offered_streams_or_without_data_ends_the_association() {
    for (chunk_stream, payload, words) in
        [(1_024, &b"x"[..], "was not offered"), (65_535, b"x", "was not offered"), (0, b"", "without data")]
    {
        let mut world = World::new();
        let sender = world.data_client(Direction::Send);
        let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
        let tsn = world.next_tsn(sender);
        world.forge(sender, &[data_chunk(WHOLE, tsn, chunk_stream, 0, payload)]);
        assert!(world.lost(producer).unwrap().contains(words));
        // Its browser is told, and why.
        let told = world.clients[sender]
            .sctp_events
            .iter()
            .any(|event| matches!(event, SctpEvent::Lost { reason } if reason.contains(words)));
        assert!(told, "{:?}", world.clients[sender].sctp_events);
    }
}

#[test]
fn pieces_that_are_never_whole_are_bounded() {
    // Ordered messages whose first one never comes, one octet each; fragments without an end; gaps everywhere.
    type Shape = fn(u32, u32) -> Vec<u8>;
    let shapes: [(Option<&str>, Shape); 3] = [
        (Some("no first"), |tsn, n| data_chunk(WHOLE, tsn.wrapping_add(n), 0, 1 + n as u16, b"x")),
        (Some("no end"), |tsn, n| data_chunk(if n == 0 { 2 } else { 0 }, tsn.wrapping_add(n), 0, 0, b"x")),
        (None, |tsn, n| data_chunk(WHOLE, tsn.wrapping_add(2 * n + 1), 0, n as u16, b"x")),
    ];
    for (name, shape) in shapes {
        let mut world = World::new();
        let sender = world.data_client(Direction::Send);
        let victim = world.data_client(Direction::Send);
        let receiver = world.data_client(Direction::Recv);
        let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
        let other = world.produce_data(victim, 0, Delivery::RELIABLE);
        let (_, stream) = world.consume_data(receiver, other);
        let tsn = world.next_tsn(sender);
        for n in (0..40_000).step_by(50) {
            let chunks: Vec<Vec<u8>> = (n..n + 50).map(|n| shape(tsn, n)).collect();
            world.forge(sender, &chunks);
            world.pass_ms(10);
        }
        // Gaps are bounded by being near; the others by being few.
        assert_eq!(
            world.lost(producer).is_some_and(|reason| reason.contains("small pieces")),
            name.is_some()
        );
        world.say(victim, 0, Delivery::RELIABLE, &text("still here"));
        assert_eq!(world.heard_on(receiver, stream), [text("still here")], "{name:?}");
    }
}

#[test]
fn noise_inside_the_association_panics_nowhere_and_hurts_nobody_else() {
    let mut world = World::new();
    let victim = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let other = world.produce_data(victim, 0, Delivery::RELIABLE);
    let (_, stream) = world.consume_data(receiver, other);
    let mut dice = StdRng::seed_from_u64(3);
    for round in 0..30 {
        let sender = world.data_client(Direction::Send);
        world.produce_data(sender, 0, Delivery::RELIABLE);
        let tsn = world.next_tsn(sender);
        for n in 0..200u32 {
            let mut chunks =
                vec![data_chunk(dice.random::<u8>() & 7, tsn.wrapping_add(n), 0, n as u16, &[1; 20])];
            for _ in 0..dice.random_range(0..3) {
                let kind =
                    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 64, 130, 192, 194][dice.random_range(0..16)];
                let len = dice.random_range(0..40u16);
                let mut chunk = vec![kind, dice.random()];
                chunk.extend((4 + len).to_be_bytes());
                chunk.extend((0..len).map(|_| dice.random_range(0..4u8)));
                chunk.resize(chunk.len().next_multiple_of(4), 0);
                chunks.insert(dice.random_range(0..=chunks.len()), chunk);
            }
            world.forge(sender, &chunks);
        }
        world.pass_ms(100);
        let message = text(&format!("round {round}"));
        world.say(victim, 0, Delivery::RELIABLE, &message);
        assert_eq!(world.heard_on(receiver, stream).last(), Some(&message));
        world.worker.close_transport(world.clients[sender].transport);
    }
}

#[test]
fn channels_opened_in_band_are_answered_where_one_may_send() {
    let open = |label: &str| {
        let mut bytes = vec![3, 0, 1, 0, 0, 0, 0, 0];
        bytes.extend((label.len() as u16).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(label.bytes());
        Message { kind: Kind::Dcep, payload: Bytes::from(bytes) }
    };
    let ack = Message { kind: Kind::Dcep, payload: Bytes::from_static(dcep::ACK) };
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    world.say(sender, 6, Delivery::RELIABLE, &open("in band"));
    assert_eq!(world.heard_on(sender, 6), std::slice::from_ref(&ack));
    // What is sent on it before `produce-data` is nobody's; after, it is the producer's.
    world.say(sender, 6, Delivery::RELIABLE, &text("too early"));
    let producer = world.produce_data(sender, 6, Delivery::RELIABLE);
    let (_, stream) = world.consume_data(receiver, producer);
    world.say(sender, 6, Delivery::RELIABLE, &text("heard"));
    assert_eq!(world.heard_on(receiver, stream), [text("heard")]);
    // Acknowledgements are for nobody; nonsense, and channels where nothing is produced, are closed.
    world.say(sender, 8, Delivery::RELIABLE, &ack);
    let nonsense = Message { kind: Kind::Dcep, payload: Bytes::from_static(&[3, 1, 2]) };
    world.say(sender, 9, Delivery::RELIABLE, &nonsense);
    world.say(receiver, 700, Delivery::RELIABLE, &open("wrong way"));
    world.pass_ms(1_000);
    let resets = |client: usize| {
        world.clients[client].sctp_events.iter().filter(|e| matches!(e, SctpEvent::PeerReset { .. })).count()
    };
    assert_eq!((resets(sender), resets(receiver)), (1, 1));
    assert_eq!(world.heard_on(receiver, stream).len(), 1);
}

#[test]
fn deprecated_fragments_and_unclaimed_streams_go_nowhere() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
    let (_, stream) = world.consume_data(receiver, producer);
    world.say(
        sender,
        0,
        Delivery::RELIABLE,
        &Message { kind: Kind::Other, payload: Bytes::from_static(b"part") },
    );
    world.say(sender, 1, Delivery::RELIABLE, &text("whose?"));
    world.say(sender, 0, Delivery::RELIABLE, &text("mine"));
    assert_eq!(world.heard_on(receiver, stream), [text("mine")]);
    let stats = world.worker.data_producer_stats(world.now, producer).unwrap();
    assert_eq!(stats.messages_received, 1);
}

#[test]
fn application_data_without_sctp_is_dropped_and_counted() {
    let mut world = World::new();
    let sender = world.sender();
    let before = world.sent_datagrams;
    world.clients[sender].send_application_data(b"anything");
    world.settle();
    assert_eq!(world.sent_datagrams, before);
    let stats = world.worker.transport_stats(world.now, world.clients[sender].transport).unwrap();
    assert_eq!((stats.packets_discarded, stats.sctp_state), (1, None));
}
