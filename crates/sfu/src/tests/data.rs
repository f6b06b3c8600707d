//! Data channels between Chromium's SCTP stacks, through us.

use super::*;
use crate::sctp::{Delivery, Event as SctpEvent, Kind, MAX_MESSAGE, Message, Persistence};
use bytes::Bytes;
use wire::{DataConsumerId, DataProducerId};

pub const UNORDERED: Delivery = Delivery { ordered: false, persistence: Persistence::Reliable };
pub const LOSSY: Delivery = Delivery { ordered: false, persistence: Persistence::Retransmits(0) };
const SHORT_LIVED: Delivery = Delivery { ordered: true, persistence: Persistence::LifetimeMs(100) };

pub fn binary(octets: impl Into<Vec<u8>>) -> Message {
    Message { kind: Kind::Binary, payload: Bytes::from(octets.into()) }
}

pub fn text(text: &str) -> Message {
    Message { kind: Kind::Text, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

impl World {
    /// A client whose SCTP association is up.
    pub fn data_client(&mut self, direction: Direction) -> usize {
        let client = self.join(direction, Role::Client);
        self.worker.enable_sctp(self.clients[client].transport).unwrap();
        self.connect(client);
        self.clients[client].start_sctp();
        for _ in 0..400 {
            self.settle();
            if self.clients[client].sctp_events.contains(&SctpEvent::Connected) {
                return client;
            }
            self.pass_ms(25);
        }
        panic!("no association");
    }

    pub fn produce_data(&mut self, client: usize, stream: u16, delivery: Delivery) -> DataProducerId {
        let transport = self.clients[client].transport;
        let parameters = delivery.parameters(stream);
        self.worker.produce_data(transport, &parameters, "chat".into(), "json".into()).unwrap()
    }

    /// The consumer's id and stream.
    pub fn consume_data(&mut self, client: usize, producer: DataProducerId) -> (DataConsumerId, u16) {
        let transport = self.clients[client].transport;
        let options = self.worker.consume_data(transport, producer, false).unwrap();
        (options.id, options.sctp_stream_parameters.stream_id)
    }

    pub fn say(&mut self, client: usize, stream: u16, delivery: Delivery, message: &Message) {
        self.clients[client].sctp().send(stream, delivery, message.clone()).unwrap();
        self.settle();
    }

    pub fn heard_on(&self, client: usize, stream: u16) -> Vec<Message> {
        let on_stream = self.clients[client].messages.iter().filter(|(s, _)| *s == stream);
        on_stream.map(|(_, message)| message.clone()).collect()
    }
}

#[test]
fn every_kind_of_message_reaches_every_consumer_in_every_mode() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receivers = [world.data_client(Direction::Recv), world.data_client(Direction::Recv)];
    for (stream, delivery) in [Delivery::RELIABLE, UNORDERED, LOSSY, SHORT_LIVED].into_iter().enumerate() {
        let stream = stream as u16 * 3;
        let producer = world.produce_data(sender, stream, delivery);
        let consumers = receivers.map(|receiver| (receiver, world.consume_data(receiver, producer)));
        let empty = |kind| Message { kind, payload: Bytes::from_static(&[0]) };
        let messages = [
            text("hello"),
            binary([1, 2, 3]),
            empty(Kind::EmptyText),
            empty(Kind::EmptyBinary),
            binary((0..200_000u32).map(|n| n as u8).collect::<Vec<_>>()),
            binary(vec![7; MAX_MESSAGE]),
        ];
        for message in &messages {
            world.say(sender, stream, delivery, message);
            world.pass_ms(500);
        }
        for (receiver, (consumer, stream)) in consumers {
            assert_eq!(world.heard_on(receiver, stream), messages, "{delivery:?}");
            let stats = world.worker.data_consumer_stats(world.now, consumer).unwrap();
            assert_eq!((stats.messages_sent, stats.messages_dropped), (6, 0));
            assert_eq!(stats.bytes_sent, 5 + 3 + 200_000 + MAX_MESSAGE as u64);
        }
        let stats = world.worker.data_producer_stats(world.now, producer).unwrap();
        assert_eq!((stats.messages_received, stats.label.as_str()), (6, "chat"));
        assert_eq!(stats.bytes_received, 5 + 3 + 200_000 + MAX_MESSAGE as u64);
    }
    let stats = world.worker.transport_stats(world.now, world.clients[sender].transport).unwrap();
    assert_eq!(stats.sctp_state.as_deref(), Some("connected"));
}

#[test]
fn a_reliable_channel_loses_nothing_and_an_ordered_one_keeps_its_order() {
    let mut world = World::new();
    world.loss_percent = 5;
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let ordered = world.produce_data(sender, 0, Delivery::RELIABLE);
    let unordered = world.produce_data(sender, 1, UNORDERED);
    let (_, ordered) = world.consume_data(receiver, ordered);
    let (_, unordered) = world.consume_data(receiver, unordered);
    let messages: Vec<Message> = (0..200u32).map(|n| binary(vec![n as u8; 1 + n as usize * 40])).collect();
    for message in &messages {
        world.say(sender, 0, Delivery::RELIABLE, message);
        world.say(sender, 1, UNORDERED, message);
        world.pass_ms(25);
    }
    world.pass_ms(30_000);
    assert_eq!(world.heard_on(receiver, ordered), messages);
    let mut got = world.heard_on(receiver, unordered);
    got.sort_by_key(|message| message.payload.len());
    assert_eq!(got, messages);
}

#[test]
fn a_lossy_channel_gives_up_what_the_network_lost_and_goes_on() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let ordered = Delivery { ordered: true, persistence: Persistence::Retransmits(0) };
    let streams = [(0, LOSSY), (1, SHORT_LIVED), (2, ordered)].map(|(stream, delivery)| {
        let producer = world.produce_data(sender, stream, delivery);
        (stream, delivery, world.consume_data(receiver, producer).1)
    });
    world.loss_percent = 10;
    for n in 0..300u32 {
        for (stream, delivery, _) in streams {
            world.say(sender, stream, delivery, &binary(n.to_be_bytes()));
        }
        world.pass_ms(25);
    }
    world.loss_percent = 0;
    world.pass_ms(5_000);
    for (stream, delivery, received) in streams {
        world.say(sender, stream, delivery, &text("last"));
        world.pass_ms(1_000);
        let heard = world.heard_on(receiver, received);
        assert_eq!(heard.last(), Some(&text("last")), "{delivery:?}");
        // Lost once on either side, of about a fifth.
        assert!((180..300).contains(&heard.len()), "{delivery:?}: {}", heard.len());
        if delivery.ordered {
            let numbers: Vec<&[u8]> = heard[..heard.len() - 1].iter().map(|m| &m.payload[..]).collect();
            assert!(numbers.is_sorted(), "{delivery:?}");
        }
    }
}

#[test]
fn the_handshake_survives_heavy_loss() {
    for seed in 0..10 {
        let mut world = World::new();
        world.dice = StdRng::seed_from_u64(seed);
        let client = world.join(Direction::Send, Role::Client);
        world.worker.enable_sctp(world.clients[client].transport).unwrap();
        world.connect(client);
        world.loss_percent = 40;
        world.clients[client].start_sctp();
        world.pass_ms(60_000);
        assert!(world.clients[client].sctp_events.contains(&SctpEvent::Connected), "seed {seed}");
    }
}

#[test]
fn messages_go_only_to_those_who_consume_them() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let producer = world.produce_data(sender, 4, Delivery::RELIABLE);
    let early = world.data_client(Direction::Recv);
    let (early_id, early_stream) = world.consume_data(early, producer);
    world.say(sender, 4, Delivery::RELIABLE, &text("one"));
    let late = world.data_client(Direction::Recv);
    let (_, late_stream) = world.consume_data(late, producer);
    world.worker.pause_data_consumer(early_id, true).unwrap();
    world.say(sender, 4, Delivery::RELIABLE, &text("two"));
    world.worker.pause_data_consumer(early_id, false).unwrap();
    world.say(sender, 4, Delivery::RELIABLE, &text("three"));
    assert_eq!(world.heard_on(early, early_stream), [text("one"), text("three")]);
    assert_eq!(world.heard_on(late, late_stream), [text("two"), text("three")]);
    assert_eq!(world.worker.data_consumer_stats(world.now, early_id).unwrap().messages_dropped, 1);

    // Who consumes before speaking SCTP hears from when they do.
    let silent = world.join(Direction::Recv, Role::Client);
    world.worker.enable_sctp(world.clients[silent].transport).unwrap();
    world.connect(silent);
    let (_, silent_stream) = world.consume_data(silent, producer);
    world.say(sender, 4, Delivery::RELIABLE, &text("four"));
    world.clients[silent].start_sctp();
    world.pass_ms(100);
    world.say(sender, 4, Delivery::RELIABLE, &text("five"));
    assert_eq!(world.heard_on(silent, silent_stream), [text("five")]);
}

#[test]
fn a_channel_closed_before_its_client_arrives_is_no_harm_to_the_others() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
    let receiver = world.join(Direction::Recv, Role::Client);
    world.worker.enable_sctp(world.clients[receiver].transport).unwrap();
    let (early, _) = world.consume_data(receiver, producer);
    world.worker.close_data_consumer(early).unwrap();
    world.settle();
    world.connect(receiver);
    world.clients[receiver].start_sctp();
    world.pass_ms(1_000);
    let (_, stream) = world.consume_data(receiver, producer);
    world.say(sender, 0, Delivery::RELIABLE, &text("hello"));
    assert_eq!(world.heard_on(receiver, stream), [text("hello")]);
}

#[test]
fn channels_end_with_their_producer_transport_or_association() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let census = world.worker.census();
    let first = world.produce_data(sender, 0, Delivery::RELIABLE);
    let (first_consumer, first_stream) = world.consume_data(receiver, first);
    world.say(sender, 0, Delivery::RELIABLE, &text("hello"));
    world.worker.close_data_producer(first).unwrap();
    world.settle();
    let reason = "data producer closed".to_owned();
    let event = Event::DataConsumerClosed { data_consumer: first_consumer, data_producer: first, reason };
    assert!(world.events.contains(&event));
    // The receiver's browser hears that its channel was closed, and the number is free again.
    world.pass_ms(1_000);
    assert!(world.clients[receiver].sctp_events.contains(&SctpEvent::PeerReset { stream: first_stream }));
    assert_eq!(world.worker.census(), census);

    let second = world.produce_data(sender, 0, Delivery::RELIABLE);
    let (second_consumer, _) = world.consume_data(receiver, second);
    world.worker.close_transport(world.clients[sender].transport);
    world.settle();
    let reason = "transport closed".to_owned();
    assert!(
        world.events.contains(&Event::DataProducerClosed { data_producer: second, reason: reason.clone() })
    );
    let event = Event::DataConsumerClosed { data_consumer: second_consumer, data_producer: second, reason };
    assert!(world.events.contains(&event));
    world.worker.close_transport(world.clients[receiver].transport);
    assert_eq!(world.worker.census()[12..16], [0; 4]);
}

#[test]
fn a_receiver_who_closes_its_channel_is_not_sent_more() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
    let (consumer, stream) = world.consume_data(receiver, producer);
    world.say(sender, 0, Delivery::RELIABLE, &text("one"));
    world.clients[receiver].sctp().reset(stream);
    world.settle();
    world.pass_ms(100);
    world.say(sender, 0, Delivery::RELIABLE, &text("two"));
    assert_eq!(world.heard_on(receiver, stream), [text("one")]);
    let stats = world.worker.data_consumer_stats(world.now, consumer).unwrap();
    assert_eq!((stats.messages_sent, stats.messages_dropped), (1, 1));
    world.worker.close_data_consumer(consumer).unwrap();
    // A sender's closed channel may be opened anew on its stream.
    world.clients[sender].sctp().reset(0);
    world.pass_ms(1_000);
    let (_, stream) = world.consume_data(receiver, producer);
    world.say(sender, 0, Delivery::RELIABLE, &text("three"));
    assert_eq!(world.heard_on(receiver, stream), [text("three")]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let plain = world.sender();
    let [sender, receiver, plain] = [sender, receiver, plain].map(|c| world.clients[c].transport);
    let worker = &mut world.worker;
    let mut produce = |transport, stream_id, max_packet_life_time, max_retransmits, label: &str| {
        let parameters =
            SctpStreamParameters { stream_id, ordered: None, max_packet_life_time, max_retransmits };
        worker.produce_data(transport, &parameters, label.into(), String::new())
    };
    let producer = produce(sender, 1_023, None, None, "ok").unwrap();
    assert!(produce(sender, 1_023, None, None, "taken").is_err());
    assert!(produce(sender, 1_024, None, None, "no such stream").is_err());
    assert!(produce(sender, 0, Some(1), Some(1), "both limits").is_err());
    assert!(produce(sender, 0, None, None, &"x".repeat(256)).is_err());
    assert!(produce(receiver, 0, None, None, "wrong way").is_err());
    assert!(produce(plain, 0, None, None, "no SCTP").is_err());
    assert!(worker.consume_data(sender, producer, false).is_err());
    let other_room = worker.create_router();
    let elsewhere = worker.create_transport(world.now, other_room, Direction::Recv).unwrap().id;
    worker.enable_sctp(elsewhere).unwrap();
    assert_eq!(worker.consume_data(elsewhere, producer, false), Err(Error::NotFound("data producer")));
    for _ in 0..256 {
        worker.consume_data(receiver, producer, false).unwrap();
    }
    assert_eq!(worker.consume_data(receiver, producer, false), Err(Error::Limit("data consumers")));
}
