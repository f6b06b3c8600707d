//! Asking for memory ahead of its use.
//!
//! Between two rounds the thread sleeps, and others use the processor: a round finds nothing in the caches. A packet's way leads from
//! an address to a transport, its keys, a source, a producer, a stream, and each receiver's transport, keys and consumer; taken
//! packet by packet, it waits for memory at each step. So the first step is taken for a whole batch, then the second, and by the
//! time the first packet is handled all it needs has come. Nothing here changes anything.

use super::datagrams::Datagram;
use super::{Tap, Worker};
use crate::forward::Forwarder;
use crate::transport::{Source, Transport};
use arrayvec::ArrayVec;
use rtp::packet::{Class, Packet, classify};
use slab::Slab;
use std::mem::offset_of;

impl Worker {
    /// Fetches what media among these datagrams, at most [`TOGETHER`], will touch.
    pub(super) fn prefetch_received(&self, datagrams: &[Datagram<'_>]) {
        let (transports, producers) = (&self.transports, &self.producers);
        let mut keys = ArrayVec::<_, TOGETHER>::new();
        for (from, datagram) in datagrams.iter().take(TOGETHER) {
            if classify(datagram) == Class::Rtp
                && let Ok(header) = Packet::parse_header(datagram)
                && let Some(&key) = self.by_path.get(from)
            {
                keys.push((key, header.ssrc(), datagram.len()));
            }
        }
        for (key, ..) in &keys {
            transports.get(*key).inspect(|transport| transport.prefetch());
        }
        let mut sources = ArrayVec::<_, TOGETHER>::new();
        for (key, ssrc, len) in keys {
            let Some(transport) = transports.get(key) else { continue };
            transport.prefetch_receiving();
            if let Some(&Source { producer, layer, .. }) = transport.sources.get(&ssrc) {
                sources.push((producer, layer, len));
            }
        }
        for (producer, ..) in &sources {
            producers.get(*producer).inspect(|producer| prefetch::all(*producer));
        }
        for (producer, layer, _) in &sources {
            producers.get(*producer).inspect(|producer| producer.prefetch_boxes(*layer));
        }
        for (producer, layer, len) in sources {
            let Some(producer) = producers.get(producer) else { continue };
            if let Some(stream) = producer.streams.get(usize::from(layer)) {
                stream.ring.prefetch(len);
            }
            for tap in producer.taps.iter().filter_map(|tap| self.taps.get(*tap)) {
                prefetch::start(tap, offset_of!(Tap, forwarder) + Forwarder::TOUCHED);
            }
        }
    }
}

/// While a round is sent: fetches what those at the head of `coming` will need, each a step further than the one after it.
pub(super) fn prefetch_coming(coming: &[usize], transports: &Slab<Transport>) {
    let at = |nth: usize| coming.get(nth).and_then(|key| transports.get(*key));
    at(2).inspect(|transport| transport.prefetch());
    at(1).inspect(|transport| transport.prefetch_sending());
    if let Some(outgoing) = at(0).and_then(|transport| transport.outgoing.as_ref()) {
        outgoing.controller.prefetch_history();
    }
}

/// Datagrams looked at together: as many as a caller reads at once.
pub(super) const TOGETHER: usize = 32;
