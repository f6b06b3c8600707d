//! Data channels whose receivers are slower than their senders.

use super::data::{LOSSY, binary, text};
use super::*;
use crate::sctp::{Delivery, Event as SctpEvent, Message, RECEIVE_WINDOW};
use wire::{DataConsumerId, DataProducerId};

const TOO_SLOW: &str = "the receiver does not keep up";

impl World {
    fn is_sent_away(&self, data_consumer: DataConsumerId, data_producer: DataProducerId) -> bool {
        let reason = TOO_SLOW.into();
        self.events.contains(&Event::DataConsumerClosed { data_consumer, data_producer, reason })
    }

    /// A client hears what came to it only three times a second.
    fn pass_napping(&mut self, client: usize, seconds: u64) {
        for _ in 0..3 * seconds {
            self.clients[client].is_asleep = true;
            self.pass_ms(333);
            let now = self.now;
            self.clients[client].wake(now);
            self.check(client);
            self.settle();
        }
    }

    /// Windows a client was told of.
    fn windows(&self, client: usize) -> Vec<u32> {
        let sacks = self.clients[client].sctp_received.iter().filter(|packet| packet[12] == 3);
        sacks.map(|packet| u32::from_be_bytes(packet[20..24].try_into().unwrap())).collect()
    }

    fn count(&self, client: usize, event: impl Fn(&SctpEvent) -> bool) -> usize {
        self.clients[client].sctp_events.iter().filter(|e| event(e)).count()
    }
}

#[test]
fn a_flood_waits_for_a_slow_receiver_and_loses_nothing() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let [quick, slow] = [world.data_client(Direction::Recv), world.data_client(Direction::Recv)];
    let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
    let (_, quick_stream) = world.consume_data(quick, producer);
    let (slow_id, slow_stream) = world.consume_data(slow, producer);
    let messages: Vec<Message> = (0..120u8).map(|n| binary(vec![n; 100_000])).collect();
    for message in &messages {
        world.clients[sender].sctp().send(0, Delivery::RELIABLE, message.clone()).unwrap();
    }
    world.settle();
    let mut held_up = 0;
    for _ in 0..30 {
        world.pass_napping(slow, 1);
        let stats = world.worker.data_consumer_stats(world.now, slow_id).unwrap();
        assert!(stats.buffered_amount <= 2 * 1024 * 1024, "{stats:?}");
        held_up += u32::from(world.clients[sender].sctp().buffered(0) > 4_000_000);
    }
    assert_eq!(world.heard_on(quick, quick_stream), messages);
    assert_eq!(world.heard_on(slow, slow_stream), messages);
    // The sender had to wait, and was told so by the window; which opened again.
    let windows = world.windows(sender);
    assert!(held_up > 0 && windows.iter().any(|window| *window < RECEIVE_WINDOW / 8));
    assert!(windows.last().is_some_and(|window| *window > RECEIVE_WINDOW / 2));
    assert_eq!(world.worker.census()[17], 0);
}

#[test]
fn a_flood_of_short_messages_waits_as_well() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let slow = world.data_client(Direction::Recv);
    let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
    let (_, stream) = world.consume_data(slow, producer);
    let messages: Vec<Message> = (0..20_000u32).map(|n| binary(n.to_be_bytes())).collect();
    for message in &messages {
        world.clients[sender].sctp().send(0, Delivery::RELIABLE, message.clone()).unwrap();
    }
    world.settle();
    world.pass_napping(slow, 30);
    assert_eq!(world.heard_on(slow, stream).len(), messages.len());
    assert_eq!(world.heard_on(slow, stream), messages);
    // Bundles of short messages keep within what every path carries.
    let sizes = world.clients[slow].sctp_received.iter().map(Vec::len);
    assert!(sizes.max().unwrap() <= 1_192);
    let largest = world.clients[slow].sctp_received.iter().map(Vec::len).max().unwrap();
    assert!(largest > 1_000, "{largest}");
}

#[test]
fn a_consumer_that_never_reads_is_sent_away_and_hurts_nobody_for_long() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let [reader, sleeper] = [world.data_client(Direction::Recv), world.data_client(Direction::Recv)];
    let reliable = world.produce_data(sender, 0, Delivery::RELIABLE);
    let lossy = world.produce_data(sender, 1, LOSSY);
    let (_, stream) = world.consume_data(reader, reliable);
    let (sleeping, _) = world.consume_data(sleeper, reliable);
    let (sleeping_lossy, _) = world.consume_data(sleeper, lossy);
    world.clients[sleeper].is_deaf = true;
    let message = binary(vec![9; 100_000]);
    for n in 0..60 {
        world.say(sender, 0, Delivery::RELIABLE, &message);
        world.say(sender, 1, LOSSY, &message);
        world.pass_ms(100);
        world.check(sleeper);
        // Two megabytes in, everybody waits.
        assert_eq!(world.heard_on(reader, stream).len(), (n + 1).min(20), "{n}");
    }
    assert!(!world.is_sent_away(sleeping, reliable));
    world.pass_ms(1_200);
    assert!(world.is_sent_away(sleeping, reliable), "{:?}", world.events);
    assert!(world.worker.data_consumer_stats(world.now, sleeping).is_none());
    world.pass_ms(3_000);
    assert_eq!(world.heard_on(reader, stream).len(), 60);
    let stats = world.worker.data_consumer_stats(world.now, sleeping_lossy).unwrap();
    assert!(stats.messages_dropped >= 20, "{stats:?}");
    assert!(stats.buffered_amount <= 256 * 1024, "{stats:?}");

    // Once is enough: its client is not waited for again.
    let (again, _) = world.consume_data(sleeper, reliable);
    for _ in 0..30 {
        world.say(sender, 0, Delivery::RELIABLE, &message);
        world.pass_ms(100);
        world.check(sleeper);
    }
    assert_eq!(world.heard_on(reader, stream).len(), 90);
    assert!(world.is_sent_away(again, reliable));
}

#[test]
fn closing_channels_again_and_again_is_no_way_to_memory() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let sleeper = world.data_client(Direction::Recv);
    let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
    world.clients[sleeper].is_deaf = true;
    let mut sent = 0;
    for _ in 0..20 {
        let (consumer, _) = world.consume_data(sleeper, producer);
        for _ in 0..10 {
            world.say(sender, 0, Delivery::RELIABLE, &binary(vec![1; 200_000]));
            world.pass_ms(600);
            world.check(sleeper);
            let stats = world.worker.data_consumer_stats(world.now, consumer);
            sent = stats.map_or(sent, |stats| sent + stats.messages_sent);
        }
        let _ = world.worker.close_data_consumer(consumer);
    }
    assert!(sent < 150, "{sent}");
    // It wakes up, and has room again.
    world.clients[sleeper].is_deaf = false;
    for _ in 0..60 {
        world.check(sleeper);
        world.pass_ms(1_000);
    }
    let (_, stream) = world.consume_data(sleeper, producer);
    world.say(sender, 0, Delivery::RELIABLE, &text("good morning"));
    assert_eq!(world.heard_on(sleeper, stream), [text("good morning")]);
}

#[test]
fn a_producer_that_waits_may_be_closed() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let sleeper = world.data_client(Direction::Recv);
    let producer = world.produce_data(sender, 0, Delivery::RELIABLE);
    let (consumer, _) = world.consume_data(sleeper, producer);
    world.clients[sleeper].is_deaf = true;
    for _ in 0..30 {
        world.say(sender, 0, Delivery::RELIABLE, &binary(vec![9; 100_000]));
    }
    world.pass_ms(500);
    assert_eq!(world.worker.census()[17], 1);
    world.worker.close_data_producer(producer).unwrap();
    world.pass_ms(500);
    assert_eq!(world.worker.census()[17], 0);
    assert!(world.worker.data_consumer_stats(world.now, consumer).is_none());
    // Nothing is left of it in the window.
    let second = world.produce_data(sender, 1, Delivery::RELIABLE);
    let reader = world.data_client(Direction::Recv);
    let (_, stream) = world.consume_data(reader, second);
    world.say(sender, 1, Delivery::RELIABLE, &text("next"));
    world.pass_ms(3_000);
    assert_eq!(world.heard_on(reader, stream), [text("next")]);
    assert_eq!(world.windows(sender).last(), Some(&RECEIVE_WINDOW));
    assert_eq!(world.count(sender, |e| matches!(e, SctpEvent::Lost { .. })), 0);
}

#[test]
fn channels_that_were_never_used_are_closed_in_both_directions() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let producer = world.produce_data(sender, 7, Delivery::RELIABLE);
    let (_, first) = world.consume_data(receiver, producer);
    let (second_id, second) = world.consume_data(receiver, producer);
    let was_reset = |world: &World, client: usize, stream: u16| {
        world.count(client, |e| *e == SctpEvent::PeerReset { stream }) > 0
    };
    // By the client: it hears our half close.
    world.clients[receiver].sctp().reset(first);
    world.pass_ms(1_000);
    assert!(was_reset(&world, receiver, first) && !was_reset(&world, receiver, second));
    world.clients[sender].sctp().reset(7);
    // By us.
    world.worker.close_data_consumer(second_id).unwrap();
    world.pass_ms(1_000);
    assert!(was_reset(&world, receiver, second) && was_reset(&world, sender, 7));
}

#[test]
fn streams_are_used_again_and_again() {
    let mut world = World::new();
    let sender = world.data_client(Direction::Send);
    let receiver = world.data_client(Direction::Recv);
    let mut used = std::collections::HashSet::new();
    for n in 0..1_100u32 {
        let producer = world.produce_data(sender, 3, Delivery::RELIABLE);
        let (_, stream) = world.consume_data(receiver, producer);
        used.insert(stream);
        let message = binary(n.to_be_bytes());
        world.say(sender, 3, Delivery::RELIABLE, &message);
        assert_eq!(world.heard_on(receiver, stream).last(), Some(&message));
        world.worker.close_data_producer(producer).unwrap();
        world.settle();
        // As browsers do: one channel their page closes, the other is closed by us (RFC 8831 §6.7).
        world.clients[sender].sctp().reset(3);
        world.clients[receiver].sctp().reset(stream);
        world.settle();
        world.pass_ms(50);
    }
    assert_eq!(used.len(), 1_024);
    assert_eq!(world.count(sender, |e| matches!(e, SctpEvent::Lost { .. })), 0);
}
