//! The quality of every stream of a transport, judged once a report interval and told when it changed.

use super::{Event, Worker};
use crate::clock::Millis;
use crate::score::Scores;
use wire::stats::{ConsumerScore, StreamScore};

impl Worker {
    pub(super) fn judge(&mut self, ms: Millis, key: usize) {
        for at in 0..self.transports[key].producers.len() {
            let producer = self.transports[key].producers[at];
            self.judge_producer(ms, key, producer);
        }
        for at in 0..self.transports[key].consumers.len() {
            let consumer = self.transports[key].consumers[at];
            self.judge_consumer(consumer);
        }
    }

    fn judge_producer(&mut self, ms: Millis, transport: usize, key: usize) {
        let round_trip = self.transports[transport].round_trip;
        let producer = &mut self.producers[key];
        if producer.paused {
            return;
        }
        for stream in producer.streams.iter_mut().filter(|stream| stream.last_packet.is_some()) {
            stream.judge(round_trip, ms);
        }
        let scores = Scores::of(producer.streams.iter());
        if scores.is_empty() || std::mem::replace(&mut producer.told_scores, scores) == scores {
            return;
        }
        let score = (0u8..).zip(&producer.streams).filter_map(|(encoding, stream)| {
            Some(StreamScore {
                encoding_idx: encoding.into(),
                ssrc: stream.ssrc?,
                rid: stream.rid.clone(),
                score: scores.get(encoding)?,
            })
        });
        let event = Event::ProducerScore { producer: producer.id, score: score.collect() };
        self.emit_passing(event);
    }

    fn judge_consumer(&mut self, key: usize) {
        let consumer = &mut self.consumers[key];
        consumer.judge();
        let producer = &self.producers[consumer.producer];
        let scores = Scores::of(producer.streams.iter());
        let news = Some((consumer.score.value(), scores));
        if scores.is_empty() || std::mem::replace(&mut consumer.told_score, news) == news {
            return;
        }
        let score = ConsumerScore {
            score: consumer.score.value(),
            producer_score: scores.get(consumer.stream()).unwrap_or(0),
            producer_scores: scores.to_vec(producer.streams.len()),
        };
        let event = Event::ConsumerScore { consumer: consumer.id, score };
        self.emit_passing(event);
    }
}
