//! What happens because time passes.

use super::{Event, TICK, Worker};
use crate::bandwidth::Micros;
use crate::clock::Millis;
use crate::ice;
use crate::rate::SAMPLING_INTERVAL;
use crate::stun;
use crate::transport::Security;
use std::time::{Duration, Instant};

impl Worker {
    /// When [`Self::handle_timeout`] is wanted; never, while there is no transport and no STUN server to ask.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let asks = self.reflexive.poll_timeout();
        if self.transports.is_empty() {
            return asks;
        }
        let tick = self.clock.at(self.next_tick);
        let release = self.next_release().map(|us| self.clock.at_us(us));
        [release, self.next_data_burst(), asks].into_iter().flatten().chain([tick]).min()
    }

    /// Looks at everything that waits for time. Cheap to call early: it does nothing then.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        // What has arrived counts before a probe is filled up.
        self.queue_arrived();
        self.handle_timed(now);
        self.ask_stun_servers(now);
        let ms = self.clock.ms(now);
        if ms < self.next_tick {
            return;
        }
        self.next_tick = ms + TICK;
        self.checks_left = MAX_CHECKS;
        for key in 0..self.transports.capacity() {
            if self.transports.contains(key) {
                self.tick_transport(now, ms, key);
            }
        }
        self.sample_rates(ms);
        self.tick_waiting(now);
        self.tick_layers(now, ms);
        self.tick_audio(ms);
    }

    fn sample_rates(&mut self, ms: Millis) {
        if ms < self.next_sampling {
            return;
        }
        self.next_sampling = ms + SAMPLING_INTERVAL;
        for (_, consumer) in &mut self.consumers {
            consumer.rate.sample(ms, consumer.octets);
        }
        for (_, transport) in &mut self.transports {
            transport.traffic.send_rate.sample(ms, transport.traffic.sent);
        }
    }

    fn ask_stun_servers(&mut self, now: Instant) {
        let mut buffer = [0; stun::CAPACITY];
        while let Some((to, question)) = self.reflexive.poll(now, &mut self.random, &mut buffer) {
            self.control.push(to.into(), question);
        }
    }

    fn tick_transport(&mut self, now: Instant, ms: Millis, key: usize) {
        self.tick_ice(now, key);
        self.tick_dtls(now, key);
        self.tick_data(now, key);
        let transport = &mut self.transports[key];
        if !transport.may_send() {
            return;
        }
        self.tick_bandwidth(now, ms, key);
        let transport = &mut self.transports[key];
        let producers = transport.producers.iter().map(|p| &self.producers[*p]);
        let wants = producers.flat_map(|p| {
            p.streams.iter().map(move |s| !s.nack.is_empty() || (!p.paused && s.keyframes.is_due(ms)))
        });
        if wants.into_iter().any(|wants| wants) {
            transport.urgent = true;
            self.mark_dirty(key);
        }
        let transport = &mut self.transports[key];
        let tells = transport
            .arrivals
            .as_ref()
            .is_some_and(|log| log.is_filling() || (ms >= transport.next_feedback && !log.is_empty()));
        if tells {
            let rate = transport.traffic.receive_rate.bitrate(ms);
            transport.next_feedback = ms + feedback_interval(rate);
            self.write_arrivals(now, key);
        }
        let transport = &mut self.transports[key];
        if ms >= transport.next_report {
            transport.next_report = ms + REPORT_INTERVAL;
            self.write_reports(now, key);
        }
    }

    fn tick_ice(&mut self, now: Instant, key: usize) {
        let transport = &mut self.transports[key];
        if self.checks_left > 0 {
            let mut buffer = [0; stun::CAPACITY];
            let tag = key as u32;
            if let Some((to, check)) = transport.ice.poll_check(now, tag, &mut self.random, &mut buffer) {
                self.checks_left -= 1;
                self.control.push(to, check);
            }
        }
        if !transport.ice.handle_timeout(now) {
            return;
        }
        let id = transport.id;
        match transport.ice.state() {
            ice::State::Disconnected => self.emit(Event::TransportDisconnected { transport: id }),
            ice::State::Failed => {
                for consumer in &self.transports[key].consumers {
                    self.consumers[*consumer].forwarder.pause();
                }
                let reason = "nothing was heard from the client".into();
                self.emit(Event::TransportFailed { transport: id, reason });
            }
            ice::State::New | ice::State::Connected => {}
        }
    }

    fn tick_dtls(&mut self, now: Instant, key: usize) {
        let Security::Handshaking(dtls) = &mut self.transports[key].security else { return };
        let outcome = dtls.handle_timeout(now);
        self.send_handshake(key);
        if let Err(failure) = outcome {
            self.on_dtls_failure(key, &failure);
        }
    }

    /// Consumers and taps follow the best layers that flow, within what they prefer and may have.
    fn tick_layers(&mut self, now: Instant, ms: Millis) {
        for key in 0..self.producers.capacity() {
            if let Some(meter) = self.producers.get_mut(key).and_then(|p| p.layers.as_deref_mut()) {
                meter.handle_timeout(ms);
            }
            let Some(producer) = self.producers.get(key).filter(|p| p.layers.is_some() && !p.paused) else {
                continue;
            };
            let ladder = producer.ladder(ms);
            let mut changed = false;
            for consumer in producer.consumers() {
                let consumer = &mut self.consumers[consumer];
                let Some(aim) = producer.aim(&ladder, consumer.wish()) else { continue };
                changed |= !consumer.paused && aim != consumer.forwarder.target();
                consumer.forwarder.set_target(aim);
            }
            for tap in &producer.taps {
                let tap = &mut self.taps[*tap];
                let Some(aim) = producer.aim(&ladder, tap.wish) else { continue };
                changed |= aim != tap.forwarder.target();
                tap.forwarder.set_target(aim);
            }
            if changed {
                self.request_wanted_keyframes(now, key);
            }
        }
    }
}

impl crate::clock::Clock {
    fn at(&self, ms: Millis) -> Instant {
        self.start() + Duration::from_millis(ms)
    }

    fn at_us(&self, us: Micros) -> Instant {
        self.start() + Duration::from_micros(us)
    }
}

/// RTCP reports: often enough for a live quality display, far below 5 % of any media (RFC 3550 §6.2).
pub(super) const REPORT_INTERVAL: Millis = 1_000;
/// Checks of ours within one tick, over all transports: 2,000 a second.
const MAX_CHECKS: u32 = 50;

/// Feedback takes a twentieth of what comes in, as libwebrtc's receivers give it, within reason.
fn feedback_interval(bitrate: u64) -> Millis {
    (FEEDBACK_BITS * 1_000 * 20 / bitrate.max(1)).clamp(50, 250)
}

/// Of a usual message, with everything around it.
const FEEDBACK_BITS: u64 = 8 * 68;
