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

/// Sound as before, with its redundant form beside it as payload type 63.
fn redundant() -> RtpParameters {
    let mut parameters = opus();
    let red = json!({ "mimeType": "audio/red", "payloadType": 63, "clockRate": 48000, "channels": 2 });
    parameters.codecs.push(serde_json::from_value(red).unwrap());
    parameters
}

#[test]
fn redundant_sound_reaches_those_who_know_it_whole_and_the_others_without_its_past() {
    let mut world = World::new();
    let sender = world.sender();
    let [knows, knows_not] = [world.receiver(), world.receiver()];
    let producer = world.produce(sender, MediaKind::Audio, redundant());
    let mut capabilities = world.worker.router_rtp_capabilities();
    let red = json!({ "kind": "audio", "mimeType": "audio/red", "clockRate": 48000, "channels": 2 });
    capabilities.codecs.push(serde_json::from_value(red).unwrap());
    let agreed = world.consume_as(knows, producer, capabilities);
    let names: Vec<_> =
        agreed.rtp_parameters.codecs.iter().map(|c| (&c.mime_type[..], c.payload_type)).collect();
    assert_eq!(names, [("audio/opus", 100), ("audio/red", 109)]);
    assert_eq!(world.consume(knows_not, producer).rtp_parameters.codecs.len(), 1);
    world.worker.tap(world.now, producer, 1).unwrap();

    world.send_rtp(sender, &sound(10, None));
    let block = |n: u8| [0x78, n, 2, 3];
    let payload = [&[0x80 | 111, 15, 0, 4, 111][..], &block(10), &block(11)].concat();
    let whole = payload.clone();
    world.send_rtp(sender, &Outgoing { payload_type: 63, payload, ..sound(11, None) });
    // Of another codec, and cut off.
    for payload in [vec![0x80 | 96, 15, 0, 1, 96, 1, 2], vec![0x80 | 111, 15, 0, 9, 111, 1]] {
        world.send_rtp(sender, &Outgoing { payload_type: 63, payload, ..sound(12, None) });
    }
    world.settle();
    let received = |world: &World, client: usize| -> Vec<(u8, Vec<u8>)> {
        world.clients[client].received.iter().map(|p| (p.payload_type, p.payload.clone())).collect()
    };
    let plain = |n: u8| (100, block(n).to_vec());
    assert_eq!(received(&world, knows_not), [plain(10), plain(11)]);
    let renumbered = [&[0x80 | 100, 15, 0, 4, 100][..], &block(10), &block(11)].concat();
    assert_eq!(received(&world, knows), [plain(10), (109, renumbered)]);
    let tapped = world.heard.packets.iter().map(|(_, bytes)| {
        let packet = rtp::packet::Packet::parse(bytes).unwrap();
        (packet.payload_type(), packet.sequence_number(), packet.payload().to_vec())
    });
    assert_eq!(tapped.collect::<Vec<_>>(), [(111, 10, block(10).to_vec()), (63, 11, whole)]);
    let format = world.worker.tap_format(producer).unwrap();
    assert_eq!((format.codec.payload_type, format.red_payload_type), (111, Some(63)));
}

#[test]
fn silence_and_capture_times_are_passed_on() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let mut parameters = opus();
    for (uri, id) in [(rtp::ext::ABS_CAPTURE_TIME, 9u8), (rtp::ext::PLAYOUT_DELAY, 7)] {
        let listed = json!({ "uri": uri, "id": id });
        parameters.header_extensions.push(serde_json::from_value(listed).unwrap());
    }
    parameters.codecs[0].parameters.insert("usedtx".into(), json!(1));
    let producer = world.produce(sender, MediaKind::Audio, parameters);
    let agreed = world.consume(receiver, producer);
    let told = &agreed.rtp_parameters.codecs[0].parameters;
    assert_eq!(
        (&told["useinbandfec"], &told["usedtx"]),
        (&json!(1), &json!(1)),
        "FEC and DTX as the sender says"
    );
    world.worker.tap(world.now, producer, 1).unwrap();
    assert_eq!(world.worker.tap_format(producer).unwrap().capture_time_id, Some(9));
    let (captured, delay) = ([1u8; 8].to_vec(), vec![0, 0xa0, 0x14]);
    // DTX: a packet of one octet, then nothing for 400 ms, then the same (RFC 6716 §3.1).
    for n in [0, 20] {
        let mut silence = sound(n, None);
        silence.sequence = n / 20;
        silence.payload = vec![0x78];
        silence.extensions.extend([(9, captured.clone()), (7, delay.clone())]);
        world.send_rtp(sender, &silence);
        world.pass_ms(400);
    }
    let received = &world.clients[receiver].received;
    assert_eq!(received.len(), 2);
    assert_eq!(received[1].timestamp - received[0].timestamp, 20 * 960);
    for packet in received {
        assert_eq!(packet.payload, [0x78]);
        for (uri, value) in [(rtp::ext::ABS_CAPTURE_TIME, &captured), (rtp::ext::PLAYOUT_DELAY, &delay)] {
            let listed = agreed.rtp_parameters.header_extensions.iter().find(|e| e.uri == uri).unwrap();
            assert!(packet.extensions.contains(&(listed.id, value.clone())), "{uri}");
        }
    }
    let tapped = rtp::packet::Packet::parse(&world.heard.packets[0].1).unwrap();
    assert_eq!(tapped.extension(9), Some(&captured[..]));
}
