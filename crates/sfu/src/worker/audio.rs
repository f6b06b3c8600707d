//! Active speaker and volumes of each router, from the producers that are observed.

use super::{Event, MAX_EVENTS, Worker};
use crate::clock::Millis;
use crate::error::Error;
use crate::ortc::codec::Codec;
use crate::speakers::{Floor, SILENCE, Voice};
use std::time::Instant;
use wire::{ProducerId, RouterId};

/// A router: what its transports share.
pub(super) struct Router {
    floor: Floor<usize>,
    /// Keys of producers; a floor is for those only.
    observed: Vec<usize>,
    next_volumes: Millis,
    /// The last announcement named somebody.
    is_heard: bool,
}

impl Router {
    pub fn new() -> Self {
        Self { floor: Floor::new(), observed: Vec::new(), next_volumes: 0, is_heard: false }
    }

    pub fn forget(&mut self, producer: usize) {
        self.observed.retain(|key| *key != producer);
    }
}

impl Worker {
    /// Whether a producer of sound counts when it is decided who speaks in its router. None does until this is said: who
    /// is still in a green room, for instance, must not have the floor.
    pub fn observe_audio(&mut self, now: Instant, producer: ProducerId, observed: bool) -> Result<(), Error> {
        let key = self.producer_key(producer)?;
        let ms = self.clock.ms(now);
        let source = &mut self.producers[key];
        if source.agreed.codec != Codec::Opus {
            return Err(Error::invalid("only sound can be observed"));
        }
        let Some(router) = self.routers.get_mut(&source.router) else { return Ok(()) };
        router.forget(key);
        source.voice = observed.then(|| Box::new(Voice::new(ms)));
        if observed {
            router.observed.push(key);
        }
        Ok(())
    }

    /// The level of a producer's sound as somebody measured who decodes it, dBov; used where its packets do not tell it
    /// (RFC 6464).
    pub fn note_audio_level(&mut self, now: Instant, producer: ProducerId, level: i8) {
        let ms = self.clock.ms(now);
        let key = self.producer_keys.get(&producer).copied();
        let source = key.and_then(|key| self.producers.get_mut(key)).filter(|source| !source.paused);
        if let Some(voice) = source.and_then(|source| source.voice.as_mut()) {
            voice.note_measured(level, ms);
        }
    }

    /// Once a tick.
    pub(super) fn tick_audio(&mut self, ms: Millis) {
        let Self { routers, producers, events, .. } = self;
        let mut emit = |event| {
            // News of a moment: what must not get lost has the other half of the room.
            if events.len() < MAX_EVENTS / 2 {
                events.push_back(event);
            }
        };
        for (&id, router) in routers.iter_mut() {
            for key in &router.observed {
                if let Some(voice) = &mut producers[*key].voice {
                    voice.advance(ms);
                }
            }
            let voices =
                router.observed.iter().filter_map(|key| Some((*key, &**producers[*key].voice.as_ref()?)));
            if let Some(holder) = router.floor.decide(ms, voices) {
                let producer = holder.map(|key| &producers[key]);
                let volume = producer.and_then(|producer| producer.audio_level).unwrap_or(SILENCE);
                emit(Event::ActiveSpeaker {
                    router: id,
                    producer: producer.map(|producer| producer.id),
                    volume,
                });
            }
            if ms >= router.next_volumes {
                router.next_volumes = ms + VOLUMES_EVERY;
                let mut volumes = Vec::new();
                for key in &router.observed {
                    let producer = &mut producers[*key];
                    let volume = producer.voice.as_mut().and_then(|voice| voice.take_volume());
                    volumes.extend(volume.map(|volume| (producer.id, volume)));
                }
                volumes.sort_by_key(|(_, volume)| std::cmp::Reverse(*volume));
                volumes.truncate(MAX_VOLUMES);
                // Silence is told once.
                if std::mem::replace(&mut router.is_heard, !volumes.is_empty()) || router.is_heard {
                    emit(Event::Volumes { router: id, volumes });
                }
            }
        }
    }
}

pub(super) type Routers = std::collections::HashMap<RouterId, Router>;

/// Fast enough for a page that shows who is heard, slow enough for everybody's signaling.
const VOLUMES_EVERY: Millis = 500;
/// Nobody understands more voices at once.
const MAX_VOLUMES: usize = 8;
