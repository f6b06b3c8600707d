//! Who is heard, who has the floor, and what a late listener hears first.

use super::client::Outgoing;
use super::*;

/// 20 ms of sound; without a level where there is none to tell.
fn sound(n: u64, level: Option<u8>) -> Outgoing {
    let mut extensions = vec![(MID_ID, b"0".to_vec())];
    extensions.extend(level.map(|level| (LEVEL_ID, vec![level])));
    let timestamp = n as u32 * 960;
    let payload = vec![0x78, n as u8, 2, 3];
    Outgoing { ssrc: AUDIO_SSRC, payload_type: 111, sequence: n, timestamp, extensions, payload }
}

impl World {
    /// Each client's sound for a while, at a level below full scale (RFC 6464); what the worker said of it.
    fn speak(&mut self, from: &mut u64, packets: u64, levels: &[(usize, u8)]) -> Vec<Event> {
        for _ in 0..packets {
            for (client, level) in levels {
                self.send_rtp(*client, &sound(*from, Some(*level)));
            }
            *from += 1;
            self.pass_ms(20);
        }
        let (heard, others) = self
            .events
            .drain(..)
            .partition(|event| matches!(event, Event::ActiveSpeaker { .. } | Event::Volumes { .. }));
        self.events = others;
        heard
    }
}

fn speakers(events: &[Event]) -> Vec<Option<ProducerId>> {
    let speaker = |event: &Event| match event {
        Event::ActiveSpeaker { producer, .. } => Some(*producer),
        _ => None,
    };
    events.iter().filter_map(speaker).collect()
}

fn volumes(events: &[Event]) -> Vec<Vec<(ProducerId, i8)>> {
    let volumes = |event: &Event| match event {
        Event::Volumes { volumes, .. } => Some(volumes.clone()),
        _ => None,
    };
    events.iter().filter_map(volumes).collect()
}

#[test]
fn the_floor_and_the_volumes_are_told_of_those_that_are_observed() {
    let mut world = World::new();
    let clients = [world.sender(), world.sender(), world.sender()];
    let producers = clients.map(|client| world.produce(client, MediaKind::Audio, opus()));
    for producer in &producers[..2] {
        world.worker.observe_audio(world.now, *producer, true).unwrap();
    }
    let mut n = 100;
    // The third shouts, but from the green room.
    let said = world.speak(&mut n, 100, &[(0, 25), (1, 70), (2, 5)]);
    assert_eq!(speakers(&said), [Some(producers[0])]);
    let heard = volumes(&said);
    assert!((3..=5).contains(&heard.len()), "{}", heard.len());
    assert_eq!(heard.last().unwrap(), &[(producers[0], -25)]);

    let said = world.speak(&mut n, 100, &[(0, 127), (1, 20), (2, 5)]);
    assert_eq!(speakers(&said), [Some(producers[1])]);
    // A muted microphone is silent at once, and the floor is free.
    world.worker.pause_producer(world.now, producers[1]).unwrap();
    let said = world.speak(&mut n, 50, &[(0, 127), (1, 20)]);
    assert_eq!(speakers(&said), [None]);
    assert_eq!(volumes(&said).last(), Some(&vec![]), "silence is told");
    assert_eq!(volumes(&world.speak(&mut n, 100, &[(0, 127)])), Vec::<Vec<_>>::new(), "and told once");
}

#[test]
fn sound_without_a_level_is_judged_by_who_decodes_it() {
    let mut world = World::new();
    let client = world.sender();
    let producer = world.produce(client, MediaKind::Audio, opus());
    world.worker.observe_audio(world.now, producer, true).unwrap();
    for n in 100..200 {
        world.send_rtp(client, &sound(n, None));
        if n % 5 == 0 {
            world.worker.note_audio_level(world.now, producer, -28);
        }
        world.pass_ms(20);
    }
    let said = std::mem::take(&mut world.events);
    assert_eq!(speakers(&said), [Some(producer)]);
    assert_eq!(volumes(&said).last().unwrap(), &[(producer, -28)]);

    world.worker.close_producer(world.now, producer).unwrap();
    world.pass_ms(300);
    assert_eq!(speakers(&world.events), [None], "the floor goes with its producer");
}

#[test]
fn pictures_cannot_be_observed() {
    let mut world = World::new();
    let client = world.sender();
    let producer = world.produce(client, MediaKind::Video, vp8());
    assert!(world.worker.observe_audio(world.now, producer, true).is_err());
}

#[test]
fn a_late_listener_hears_the_very_next_packet() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    let mut n = 100;
    world.speak(&mut n, 500, &[(sender, 30)]);
    let late = world.receiver();
    let capabilities = world.worker.router_rtp_capabilities();
    let transport = world.clients[late].transport;
    let options = world.worker.consume(world.now, transport, producer, &capabilities, true).unwrap();
    world.speak(&mut n, 3, &[(sender, 30)]);
    assert!(world.clients[late].received.is_empty(), "it begins paused");
    world.worker.resume_consumer(world.now, options.id).unwrap();
    world.send_rtp(sender, &sound(n, Some(30)));
    world.settle();
    assert_eq!(world.clients[late].received.iter().map(|p| p.payload[1]).collect::<Vec<_>>(), [n as u8]);
}
