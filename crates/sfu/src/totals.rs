//! What a worker has done since it was made, in a few numbers, for those who watch over it.
//!
//! Summed up when asked, from the counters that each transport, stream and consumer keeps anyway; what has been closed left its
//! own here. So nothing more is counted for each packet.

use crate::consumer::Consumer;
use crate::data::DataConsumer;
use crate::receive::Stream;
use crate::transport::Transport;
use crate::worker::Worker;

/// Every figure but those of [`Census`] only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Datagrams' octets of everything: media, RTCP, DTLS.
    pub received_octets: u64,
    pub sent_octets: u64,
    /// Of media, retransmissions apart.
    pub received_packets: u64,
    /// To consumers; once for each.
    pub forwarded_packets: u64,
    pub forwarded_octets: u64,
    pub retransmitted_packets: u64,
    pub dropped: Drops,
    pub there: Census,
}

/// Packets that went no further, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Nobody's: from an address without a transport, and no check.
    pub stray: u64,
    /// Not authentic, replayed, of no known stream, or malformed.
    pub refused: u64,
    /// Beyond what its client may send.
    pub over_limit: u64,
    /// For a client whose queue of one round was full.
    pub queue_full: u64,
    /// Waited for a client's path until they were too old.
    pub late: u64,
    /// Answers to STUN and DTLS, of which too many waited.
    pub control: u64,
    /// Messages of data channels whose receiver had no room.
    pub data_messages: u64,
}

/// How many of each there are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub transports: usize,
    pub producers: usize,
    pub consumers: usize,
    pub taps: usize,
    pub data_producers: usize,
    pub data_consumers: usize,
}

impl Worker {
    pub fn totals(&self) -> Totals {
        let mut totals = self.past();
        self.each_transport().for_each(|transport| totals.add_transport(transport));
        self.each_producer()
            .flat_map(|producer| &producer.streams)
            .for_each(|stream| totals.add_stream(stream));
        self.each_consumer().for_each(|consumer| totals.add_consumer(consumer));
        self.each_data_consumer().for_each(|consumer| totals.add_data_consumer(consumer));
        totals.there = self.there();
        totals
    }
}

impl Totals {
    pub(crate) fn add_transport(&mut self, transport: &Transport) {
        self.received_octets += transport.traffic.received;
        self.sent_octets += transport.traffic.sent;
        self.dropped.refused += transport.traffic.discarded;
        self.dropped.over_limit += transport.incoming.dropped;
        self.dropped.queue_full += transport.egress.dropped;
    }

    pub(crate) fn add_stream(&mut self, stream: &Stream) {
        self.received_packets += stream.packets;
    }

    pub(crate) fn add_consumer(&mut self, consumer: &Consumer) {
        self.forwarded_packets += consumer.packets;
        self.forwarded_octets += consumer.octets;
        self.retransmitted_packets += consumer.retransmitted;
        self.dropped.late += consumer.dropped;
    }

    pub(crate) fn add_data_consumer(&mut self, consumer: &DataConsumer) {
        self.dropped.data_messages += consumer.dropped;
    }
}
