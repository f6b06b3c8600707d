//! Real connections over loopback; time is the tests' own.

use super::*;
use mio::{Events, Poll};
use std::io::{Read, Write};
use std::net::TcpStream as Client;

struct Nobody;

impl TapSink for Nobody {
    fn rtp(&mut self, _: u32, _: Instant, _: &[u8]) {}
    fn sender_report(&mut self, _: u32, _: Instant, _: u64, _: u32) {}
    fn round_trip(&mut self, _: u32, _: Instant, _: u32) {}
}

struct World {
    poll: Poll,
    door: TcpDoor,
    sfu: sfu::Worker,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let door = TcpDoor::open(SocketAddr::from(([127, 0, 0, 1], 0)), poll.registry()).unwrap();
        let config = sfu::Config {
            announced: Vec::new(),
            announced_tcp: Vec::new(),
            max_incoming_bitrate: 1_000_000,
            seed: [1; 32],
        };
        let now = Instant::now();
        Self { poll, door, sfu: sfu::Worker::new(config, now).unwrap(), now }
    }

    fn client(&self) -> Client {
        let client = Client::connect(self.door.listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client
    }

    /// One turn of the forwarding thread, once there is something to do.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        events.iter().for_each(|event| self.door.note_ready(event));
        self.door.receive(self.now, &mut self.sfu, &mut Nobody);
    }

    /// Turns until the door has so many connections.
    fn turn_until(&mut self, connections: usize) {
        for _ in 0..500 {
            if self.door.connections.len() == connections {
                return;
            }
            self.turn();
        }
        panic!("{} connections instead of {connections}", self.door.connections.len());
    }
}

#[test]
fn strangers_are_shown_out_after_a_while_and_who_floods_at_once() {
    let mut world = World::new();
    let mut idle = world.client();
    let mut loud = world.client();
    world.turn_until(2);
    // Well framed, but no check.
    let noise = [&[0, 100][..], &[9; 100]].concat().repeat(MAX_STRANGERS_WORDS / 100);
    loud.write_all(&noise).unwrap();
    world.turn_until(1);
    assert!(matches!(loud.read(&mut [0; 10]), Ok(0) | Err(_)));
    world.now += MAX_STRANGERS_STAY - Duration::from_millis(1);
    world.turn();
    assert_eq!(world.door.connections.len(), 1);
    world.now += SWEEP;
    world.turn_until(0);
    assert_eq!(idle.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(world.door.poll_timeout(), None, "an empty door sleeps");
}

#[test]
fn one_host_cannot_take_all_places() {
    let mut world = World::new();
    let clients: Vec<_> = (0..MAX_STRANGERS + 20).map(|_| world.client()).collect();
    world.turn_until(MAX_STRANGERS);
    for _ in 0..5 {
        world.turn();
    }
    assert_eq!(world.door.connections.len(), MAX_STRANGERS);
    drop(clients);
    world.turn_until(0);
}

#[test]
fn what_is_sent_arrives_framed_and_a_client_that_never_reads_is_let_go() {
    let mut world = World::new();
    let mut client = world.client();
    world.turn_until(1);
    let peer = client.local_addr().unwrap();
    assert!(world.door.send(peer, b"aaaabb", 4));
    let mut bytes = [0; 10];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\x04aaaa\0\x02bb");
    // Until the kernel's buffers and ours are full.
    let sent = (0..20_000).take_while(|_| world.door.send(peer, &[1; 1_200], 1_200)).count();
    assert!(sent < 20_000);
    let (_, connection) = world.door.connections.iter().next().unwrap();
    assert!(connection.writer.waiting() <= 128 * 1024);
    world.now = Instant::now() + MAX_STALL;
    world.turn_until(0);
    assert!(!world.door.send(peer, b"more", 4));
}

#[test]
fn a_client_that_never_reads_costs_the_others_nothing() {
    let mut world = World::new();
    let full = world.client();
    world.turn_until(1);
    let mut reading = world.client();
    world.turn_until(2);
    let (deaf, peer) = (full.local_addr().unwrap(), reading.local_addr().unwrap());
    let (mut refused, mut bytes) = (0, [0; 1_202]);
    for n in 0..20_000u32 {
        refused += u32::from(!world.door.send(deaf, &[1; 1_200], 1_200));
        if n % 100 == 0 {
            assert!(world.door.send(peer, &[(n / 100) as u8; 1_200], 1_200));
            reading.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes[2..], [(n / 100) as u8; 1_200]);
        }
    }
    assert!(refused > 10_000, "{refused}");
    let waiting = world.door.connections.iter().map(|(_, c)| c.writer.waiting()).sum::<usize>();
    assert!(waiting <= 128 * 1024, "{waiting}");
}
