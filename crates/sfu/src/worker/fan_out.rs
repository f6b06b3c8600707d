//! From the packets of one round to their receivers, one receiver after the other.
//!
//! Packet by packet, every packet would touch every receiver's keys, history and buffer, and a large room's do not fit the
//! processor's caches. So what arrives is kept in the clear until [`Worker::flush`], once for all; then each transport in turn
//! takes what is for it, encrypts it in a buffer that all of them share, and sends it.

use super::ahead::prefetch_coming;
use super::media::{Moment, Shared, send_media};
use super::{Worker, mark_dirty, mark_timed};
use crate::bandwidth::Held;
use crate::consumer::Consumer;
use crate::egress::{Queue, Transmit};
use crate::forward::Incoming;
use crate::header::Passed;
use crate::layering::Described;
use crate::producer::{Producer, Receiver};
use crate::transport::{Source, Transport};
use arrayvec::ArrayVec;
use rtp::codec::red;
use rtp::packet::Packet;
use slab::Slab;
use std::ops::Range;
use std::time::Instant;

/// What has arrived and has not gone out (*media* kind: when it is full, it is encrypted into the transports' queues).
#[derive(Default)]
pub(super) struct FanOut {
    packets: Vec<Arrived>,
    /// Their octets, one behind the other.
    bytes: Vec<u8>,
    /// By transport, while packets are handed out: which of them go to which of its consumers.
    due: Vec<Vec<Due>>,
    /// Lent to one transport after the other.
    queue: Queue,
}

/// A packet that its producer's receivers are to get.
struct Arrived {
    source: Source,
    /// Extended.
    sequence: u64,
    /// Of [`FanOut::bytes`].
    place: Range<usize>,
    described: Described,
    is_redundant: bool,
}

struct Due {
    packet: u32,
    consumer: u32,
}

impl FanOut {
    /// Keeps a packet; `is_redundant`: in the format of RFC 2198.
    pub fn push(
        &mut self,
        source: Source,
        sequence: u64,
        packet: &Packet<'_>,
        described: Described,
        is_redundant: bool,
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(packet.as_bytes());
        let place = start..self.bytes.len();
        self.packets.push(Arrived { source, sequence, place, described, is_redundant });
    }

    pub fn is_full(&self) -> bool {
        self.packets.len() >= MAX_PACKETS || self.bytes.len() >= MAX_OCTETS
    }
}

impl Worker {
    /// Queues for everybody what has arrived. For commands that change who gets what: they are about what comes later.
    pub(super) fn queue_arrived(&mut self) {
        if self.fan_out.packets.is_empty() {
            return;
        }
        self.hand_out();
        let mut refused = 0;
        let fan_out = &mut self.fan_out;
        let packets = read(&fan_out.packets, &fan_out.bytes, &self.producers);
        let moment = Moment::new(&self.clock, self.now);
        for &key in &self.dirty {
            let Some(due) = fan_out.due.get_mut(key).filter(|due| !due.is_empty()) else { continue };
            let transport = &mut self.transports[key];
            refused |= fill(&moment, (key, transport), due, &packets, &mut self.consumers, &mut self.timed);
        }
        drop(packets);
        self.forget_packets(refused);
    }

    /// Sends what has arrived and what is queued; what time it is afterwards.
    pub(super) fn flush_transports(
        &mut self,
        now: Instant,
        send: &mut dyn FnMut(Transmit<'_>) -> Instant,
    ) -> Instant {
        self.hand_out();
        let mut dirty = std::mem::take(&mut self.dirty);
        for &key in &dirty {
            if self.transports[key].urgent {
                self.write_feedback(now, key);
            }
        }
        let (mut at, mut refused) = (now, 0);
        let FanOut { packets, bytes, due, queue } = &mut self.fan_out;
        let packets = read(packets, bytes, &self.producers);
        for (nth, &key) in dirty.iter().enumerate() {
            let coming = &dirty[nth + 1..];
            prefetch_coming(coming, &self.transports);
            if let Some(due) = coming.first().and_then(|next| due.get(*next)) {
                due.iter().take(TOGETHER).for_each(|due| self.consumers[due.consumer as usize].prefetch());
            }
            let transport = &mut self.transports[key];
            transport.is_dirty = false;
            transport.egress.borrow(queue);
            if let Some(due) = due.get_mut(key).filter(|due| !due.is_empty()) {
                let moment = Moment::new(&self.clock, at);
                refused |=
                    fill(&moment, (key, transport), due, &packets, &mut self.consumers, &mut self.timed);
            }
            if let Some(outgoing) = &mut transport.outgoing {
                outgoing.controller.stamp(self.clock.us(at));
            }
            if let Some(path) = transport.ice.selected() {
                transport.egress.flush(path, &mut |transmit| at = send(transmit));
            }
            transport.egress.give_back(queue);
        }
        dirty.clear();
        // Nothing was added meanwhile: feedback and packets were written for those that are on the list.
        self.dirty = dirty;
        drop(packets);
        self.forget_packets(refused);
        at
    }

    /// Finds each packet's receivers, and notes it with their transports.
    fn hand_out(&mut self) {
        let Self { fan_out, producers, transports, dirty, .. } = self;
        if fan_out.packets.is_empty() {
            return;
        }
        fan_out.due.resize_with(fan_out.due.len().max(transports.capacity()), Vec::new);
        for (packet, arrived) in (0..).zip(&fan_out.packets) {
            for &Receiver { consumer, transport } in &producers[arrived.source.producer].receivers {
                let transport = transport as usize;
                let due = &mut fan_out.due[transport];
                if due.is_empty() {
                    mark_dirty(dirty, &mut transports[transport], transport);
                }
                due.push(Due { packet, consumer });
            }
        }
    }

    /// The round is over. Where packet n was refused (bit n of `refused`), its receivers need a keyframe.
    fn forget_packets(&mut self, refused: u64) {
        for n in (0..self.fan_out.packets.len()).filter(|n| refused >> n & 1 == 1) {
            let producer = self.fan_out.packets[n].source.producer;
            self.request_wanted_keyframes(self.now, producer);
        }
        self.fan_out.packets.clear();
        self.fan_out.bytes.clear();
    }
}

/// A packet with what all its receivers need to know of it.
struct Ready<'a> {
    shared: Shared<'a>,
    incoming: Incoming<'a>,
    producer: &'a Producer,
}

fn read<'a>(
    packets: &'a [Arrived],
    bytes: &'a [u8],
    producers: &'a Slab<Producer>,
) -> ArrayVec<Option<Ready<'a>>, MAX_PACKETS> {
    let ready = |arrived: &'a Arrived| {
        let Source { producer, layer, .. } = arrived.source;
        let producer = &producers[producer];
        let packet = Packet::parse(bytes.get(arrived.place.clone())?).ok()?;
        let primary = arrived.is_redundant.then(|| red::primary(packet.payload()));
        let shared = Shared {
            primary: primary.flatten().map(|(_, data)| data),
            codec: producer.video_codec(),
            passed: Passed::read(&packet, &producer.agreed.extensions),
            described: &arrived.described,
            packet,
        };
        let incoming = producer.incoming(layer, arrived.sequence, &packet, &arrived.described);
        Some(Ready { shared, incoming, producer })
    };
    packets.iter().map(ready).collect()
}

/// Queues what is due to one transport; a bit is set for each packet that found no room, though it had to wait.
fn fill(
    moment: &Moment,
    (key, transport): (usize, &mut Transport),
    due: &mut Vec<Due>,
    packets: &[Option<Ready<'_>>],
    consumers: &mut Slab<Box<Consumer>>,
    timed: &mut Vec<usize>,
) -> u64 {
    let mut refused = 0;
    if !transport.may_send() {
        due.clear();
    }
    for Due { packet, consumer } in due.drain(..) {
        let Some(Some(ready)) = packets.get(packet as usize) else { continue };
        let consumer_key = consumer as usize;
        let consumer = &mut consumers[consumer_key];
        if !consumer.is_flowing() {
            continue;
        }
        let Incoming { stream, sequence, timestamp, .. } = ready.incoming;
        let align = |to: u8| ready.producer.translate_timestamp(stream, timestamp, to);
        let Some(placed) = consumer.forwarder.place(&ready.incoming, align) else { continue };
        // Sound never waits: it is little, and what a conversation hangs on.
        let class = ready.producer.class();
        if ready.shared.codec.is_some()
            && let Some(outgoing) = &mut transport.outgoing
            && !outgoing.admits(moment.us, class)
        {
            let held = Held::Media { layer: stream, sequence, placed };
            let fits = outgoing.hold(moment.us, class, consumer_key, held, consumer);
            refused |= u64::from(!fits) << packet;
            mark_timed(timed, transport, key);
            continue;
        }
        let _ = send_media(moment, consumer, transport, &ready.shared, &placed);
    }
    refused
}

/// A round of thirty cameras at 2 ms.
const MAX_PACKETS: usize = 64;
/// Beyond it, packets of a usual size are too many anyway.
const MAX_OCTETS: usize = 128 * 1024;
/// Consumers of one transport that are fetched ahead: twice what a round usually has for one.
const TOGETHER: usize = 16;
