//! Who gets which layers of the bandwidth there is, and what clients may send.

use super::media::Moment;
use super::{Event, TICK, Worker};
use crate::bandwidth::{Change, Claim, Class, Outgoing, RAISE};
use crate::clock::Millis;
use crate::error::Error;
use crate::forward::Kind;
use crate::layers::Layers;
use std::time::Instant;
use wire::{ProducerId, TransportId};

impl Worker {
    /// What a transport's client may send from now on, bit/s; it is told at once.
    pub fn set_max_incoming_bitrate(
        &mut self,
        now: Instant,
        transport: TransportId,
        bitrate: u64,
    ) -> Result<(), Error> {
        let key = self.transport_key(transport)?;
        let ms = self.clock.ms(now);
        let transport = &mut self.transports[key];
        transport.incoming.set(bitrate);
        transport.next_report = transport.next_report.min(ms);
        Ok(())
    }

    /// Whether receivers short of bandwidth get this picture before others: its sender speaks, or is on air.
    pub fn set_important(&mut self, producer: ProducerId, important: bool) -> Result<(), Error> {
        let key = self.producer_key(producer)?;
        self.producers[key].is_important = important;
        Ok(())
    }

    /// Lets a transport's estimator see the time, and shares out anew what it finds.
    pub(super) fn tick_bandwidth(&mut self, now: Instant, ms: Millis, key: usize) {
        self.police(now, ms, key);
        let us = self.clock.us(now);
        let transport = &mut self.transports[key];
        let Some(mut outgoing) = transport.outgoing.take() else { return };
        let has_moved = outgoing.note_path(us, transport.ice.selected());
        if has_moved || ms >= transport.next_sharing {
            transport.next_sharing = ms + SHARING_INTERVAL;
            self.share(now, ms, key, &mut outgoing);
        }
        let transport = &mut self.transports[key];
        let (wanted, sent) = (transport.wanted, transport.traffic.send_rate.bitrate(ms));
        outgoing.controller.handle_timeout(us, wanted, sent);
        outgoing.pacer.set_rate(outgoing.controller.pacing_rate(us));
        let is_probing = outgoing.controller.is_probing();
        let padding = outgoing.controller.padding_rate(us);
        transport.outgoing = Some(outgoing);
        let moment = Moment::new(&self.clock, now);
        if is_probing {
            self.probe(&moment, key);
        }
        if let Some(rate) = padding {
            self.pad(&moment, key, (rate * TICK as f64 / 8e3) as usize);
        }
    }

    fn share(&mut self, now: Instant, ms: Millis, key: usize, outgoing: &mut Outgoing) {
        let us = self.clock.us(now);
        let mut claims = std::mem::take(&mut self.claims);
        claims.clear();
        let counts_sound = outgoing.controller.counts_everything();
        let (mut sound, mut is_quiet) = (0, false);
        for &consumer_key in &self.transports[key].consumers {
            let consumer = &self.consumers[consumer_key];
            let producer = &self.producers[consumer.producer];
            if consumer.paused || producer.paused {
                continue;
            }
            if producer.video_codec().is_none() {
                sound += if counts_sound { consumer.rate.bitrate(ms) } else { 0 };
                continue;
            }
            let ladder = producer.ladder(ms);
            if ladder.rungs().is_empty() {
                // It may begin any moment.
                is_quiet = true;
                continue;
            }
            let has = (!consumer.starved).then_some(consumer.allowed);
            claims.push(Claim::new(consumer_key, producer.class(), ladder, consumer.preferred, has));
        }
        let estimate = outgoing.controller.estimate(us);
        // Repairs take their part, too.
        let media_share = 1.0 - outgoing.controller.loss().min(0.3);
        let usable = estimate.map(|e| (e as f64 * media_share) as u64);
        let available = usable.map(|usable| usable.saturating_sub(sound));
        outgoing.allocation.share(us, available, &mut claims);
        if is_quiet {
            self.transports[key].next_sharing = ms;
        }
        let pictures = claims.iter().map(Claim::wanted).sum::<u64>() as f64 * RAISE;
        self.transports[key].wanted = ((sound as f64 + pictures) / media_share) as u64;
        if tracing::enabled!(tracing::Level::TRACE) {
            outgoing.controller.trace(us);
        }
        let most_important = claims.iter().find(|c| c.class == Class::Important).or(claims.first());
        // Before the path has said anything, somebody must begin.
        let beginner = most_important.filter(|_| !outgoing.controller.is_proven(us)).map(|c| c.consumer);
        for claim in &claims {
            let grant = claim.grant().map(|rung| claim.ladder.open_ended(rung.layers));
            let lowest = claim.ladder.rungs()[0].layers;
            let grant = grant.or((beginner == Some(claim.consumer)).then_some(lowest));
            self.grant(now, claim, grant, outgoing);
        }
        self.claims = claims;
    }

    /// Gives a consumer its layers, or none.
    fn grant(&mut self, now: Instant, claim: &Claim, grant: Option<Layers>, outgoing: &mut Outgoing) {
        let key = claim.consumer;
        let consumer = &mut self.consumers[key];
        let (was_starved, before) = (consumer.starved, consumer.allowed);
        consumer.starved = grant.is_none();
        consumer.allowed = grant.unwrap_or(consumer.allowed);
        if consumer.starved && !was_starved {
            outgoing.drop_waiting(key, consumer);
            consumer.forwarder.pause();
        }
        let is_lowered = consumer.allowed.spatial < before.spatial;
        let is_simulcast = self.producers[consumer.producer].layer_kind() == Kind::Simulcast;
        if is_lowered && is_simulcast && outgoing.pacer.is_jammed(self.clock.us(now), key) {
            // The keyframe of the lower layer would have to wait behind what the path does not carry.
            outgoing.drop_waiting(key, consumer);
        }
        if let Some(layers) = consumer.layers_news(&claim.ladder) {
            let consumer = consumer.id;
            tracing::debug!(%consumer, ?layers, "a consumer is sent other layers");
            self.emit(Event::ConsumerLayersChanged { consumer, layers });
        }
        if was_starved && grant.is_some() {
            let producer = self.consumers[key].producer;
            self.request_wanted_keyframes(now, producer);
        }
    }

    /// Holds a client to what it may send.
    fn police(&mut self, now: Instant, ms: Millis, key: usize) {
        let transport = &mut self.transports[key];
        if transport.producers.is_empty() {
            return;
        }
        let streams = transport.producers.iter().flat_map(|p| &self.producers[*p].streams);
        let rate = streams.map(|stream| stream.rate.bitrate(ms)).sum();
        let change = transport.incoming.handle_timeout(ms, rate);
        if change == Change::None {
            return;
        }
        tracing::debug!(transport = %transport.id, rate, ?change, "a client ignores its limit");
        for at in 0..self.transports[key].producers.len() {
            let producer = self.transports[key].producers[at];
            match change {
                Change::Stops => self.pause_receivers(producer),
                Change::GoesOn => self.request_wanted_keyframes(now, producer),
                Change::None => {}
            }
        }
    }

    /// A producer's packets stop coming out; its receivers go on with a keyframe.
    pub(super) fn pause_receivers(&mut self, producer: usize) {
        for at in 0..self.producers[producer].receivers.len() {
            let key = self.producers[producer].receivers[at].consumer as usize;
            self.drop_waiting(key);
            self.consumers[key].forwarder.pause();
        }
    }
}

/// Often enough that nobody sees a queue, seldom enough to cost nothing.
const SHARING_INTERVAL: Millis = 200;
