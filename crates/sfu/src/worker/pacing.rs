//! Packets that wait for their time: the pacer's, and the bursts that try out the path.

use super::media::Moment;
use super::{Worker, mark_dirty, mark_timed};
use crate::bandwidth::{Held, Micros, Outgoing};
use crate::header::HeaderBuffer;
use crate::transport::Security;
use rtp::packet::FixedHeader;
use std::time::Instant;

impl Worker {
    /// When some transport's waiting packets may leave.
    pub(super) fn next_release(&self) -> Option<Micros> {
        let outgoing = self.timed.iter().filter_map(|key| self.transports.get(*key)?.outgoing.as_ref());
        outgoing.filter_map(|o| o.next_timeout()).min()
    }

    /// Lets out what may go now, on every transport where something waits.
    pub(super) fn handle_timed(&mut self, now: Instant) {
        let moment = Moment::new(&self.clock, now);
        let mut timed = std::mem::take(&mut self.timed);
        timed.retain(|&key| {
            let stays = self.transports.contains(key) && self.handle_timed_transport(now, &moment, key);
            if !stays && let Some(outgoing) = self.outgoing(key) {
                outgoing.is_timed = false;
            }
            stays
        });
        // Nothing was added meanwhile: only packets of others make a transport wait.
        self.timed = timed;
    }

    /// Whether there is more to come.
    fn handle_timed_transport(&mut self, now: Instant, moment: &Moment, key: usize) -> bool {
        if !self.transports[key].may_send() {
            let consumers = self.transports[key].consumers.len();
            (0..consumers).for_each(|at| self.drop_waiting(self.transports[key].consumers[at]));
            return false;
        }
        while let Some(late) = self.outgoing(key).and_then(|o| o.pacer.find_late(moment.us)) {
            tracing::debug!(consumer = %self.consumers[late].id, "pictures waited too long");
            self.drop_waiting(late);
            let producer = self.consumers[late].producer;
            self.request_wanted_keyframes(now, producer);
        }
        while let Some(waiting) = self.outgoing(key).and_then(|o| o.pacer.release(moment.us)) {
            match waiting.what {
                Held::Media { layer, sequence, placed } => {
                    self.send_held(moment, waiting.consumer, layer, sequence, &placed);
                }
                Held::Resend(number) => {
                    let _ = self.repair(moment, waiting.consumer, number);
                }
            }
        }
        self.probe(moment, key);
        self.outgoing(key).is_some_and(|o| o.next_timeout().is_some())
    }

    /// Fills a probe that is under way with padding, as far as media does not.
    pub(super) fn probe(&mut self, moment: &Moment, key: usize) {
        let Some(outgoing) = self.outgoing(key).filter(|o| o.controller.is_probing()) else { return };
        outgoing.probed_at = moment.us;
        let due = outgoing.controller.prober().due(moment.us);
        self.pad(moment, key, due);
        let Some(outgoing) = self.outgoing(key) else { return };
        outgoing.controller.prober().poll_complete(moment.us);
        if outgoing.controller.is_probing() {
            mark_timed(&mut self.timed, &mut self.transports[key], key);
        }
    }

    /// Sends `due` octets that carry nothing new, if there is a way.
    pub(super) fn pad(&mut self, moment: &Moment, key: usize, mut due: usize) {
        while due > 0 {
            let Some(sent) = self.send_padding(moment, key, due) else { return };
            self.transports[key].traffic.padding_sent.record(moment.ms, sent);
            due = due.saturating_sub(sent);
        }
    }

    /// One packet that carries nothing new: something sent lately once more, as RTX; else empty RTX with padding
    /// (RFC 4588 §4, RFC 3550 §5.1), which receivers count and throw away. Its length; `None` if there is no way.
    fn send_padding(&mut self, moment: &Moment, key: usize, due: usize) -> Option<usize> {
        let transport = &mut self.transports[key];
        let usable = |c: &&usize| self.consumers[**c].agreed.rtx.is_some();
        let flows = |c: &&usize| self.consumers[**c].is_flowing() && self.consumers[**c].packets > 0;
        let consumers = || transport.consumers.iter().filter(usable);
        let consumer = consumers().find(flows).or_else(|| consumers().next()).copied()?;
        let outgoing = transport.outgoing.as_mut()?;
        outgoing.padding = outgoing.padding.wrapping_add(1);
        let back = 1 + u64::from(outgoing.padding % REPEATED);
        let number = self.consumers[consumer].next_unsent.checked_sub(back);
        if due >= WORTH_A_REPEAT
            && let Some(number) = number
            && let Some(len) = self.send_again(moment, consumer, number as u16)
        {
            return Some(len);
        }
        self.send_empty(moment, consumer)
    }

    /// RTX without an original: only padding, as much as one packet holds.
    fn send_empty(&mut self, moment: &Moment, key: usize) -> Option<usize> {
        let consumer = &mut self.consumers[key];
        let (payload_type, ssrc) = consumer.agreed.rtx?;
        let transport = &mut self.transports[consumer.transport];
        let Security::Connected { keys, .. } = &transport.security else { return None };
        let fixed = FixedHeader {
            marker: false,
            payload_type,
            sequence_number: consumer.rtx_sequence as u16,
            timestamp: 0,
            ssrc,
        };
        let fresh = moment.fresh(transport.transport_sequence);
        let mut buffer = HeaderBuffer::new();
        let header = buffer.write_padding(fixed, consumer.header(), &fresh)?;
        let len = transport.egress.push_rtp(
            &keys.outbound,
            consumer.rtx_sequence,
            header,
            [&PADDING, &[]],
            |_| {},
        )?;
        consumer.rtx_sequence += 1;
        transport.note_sent(len, consumer.is_numbered());
        mark_dirty(&mut self.dirty, transport, consumer.transport);
        Some(len)
    }

    /// Forgets what waits for a consumer: it was paused, or its pictures are too old.
    pub(super) fn drop_waiting(&mut self, key: usize) {
        let consumer = &mut self.consumers[key];
        if let Some(outgoing) = &mut self.transports[consumer.transport].outgoing {
            outgoing.drop_waiting(key, consumer);
        }
    }

    fn outgoing(&mut self, key: usize) -> Option<&mut Outgoing> {
        self.transports.get_mut(key)?.outgoing.as_deref_mut()
    }
}

/// The last octet says how many there are.
const PADDING: [u8; 224] = {
    let mut octets = [0; 224];
    octets[223] = 224;
    octets
};
/// Below this, padding alone is nearer to what is due.
const WORTH_A_REPEAT: usize = 400;
/// Different packets in turn, in case one of them helps.
const REPEATED: u16 = 16;
