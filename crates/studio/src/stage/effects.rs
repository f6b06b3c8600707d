//! Making happen what [`rooms::Rooms`] decided: in the store first, then in the forwarding plane, then in people's ears.

use super::{Stage, worker_failure};
use rooms::{Change, Command, Effect, Reply, SessionId};
use signaling::Outbox;
use std::collections::{BTreeMap, HashMap};
use tokio::sync::mpsc::error::TrySendError;
use uuid::Uuid;
use wire::sfu::Notice;
use wire::webhook::Happening;
use wire::{Code, ConsumerId, DataConsumerId, DataProducerId, Failure, ProducerId, TransportId};

/// Where each session's notices go.
#[derive(Default)]
pub(super) struct Outboxes(HashMap<SessionId, Outbox>);

impl Outboxes {
    pub fn open(&mut self, session: SessionId, outbox: Outbox) {
        self.0.insert(session, outbox);
    }

    /// Dropping the sender tells signaling that nothing more comes.
    pub fn close(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    /// `Err`: the session is gone, or so slow that it is sent away; it may resume.
    fn say(&mut self, session: SessionId, notice: Notice) -> Result<(), SessionId> {
        let Some(outbox) = self.0.get(&session) else { return Ok(()) };
        match outbox.try_send(Box::new(notice)) {
            Ok(()) => Ok(()),
            Err(error) => {
                if let TrySendError::Full(_) = error {
                    tracing::debug!("a session does not keep up with its notices and is disconnected");
                }
                self.0.remove(&session);
                Err(session)
            }
        }
    }
}

/// What the forwarding plane has to do, in order.
#[derive(Clone, Copy)]
enum MediaStep {
    CloseTransport(TransportId),
    PauseProducer(ProducerId),
    ResumeProducer(ProducerId),
    CloseProducer(ProducerId),
    CloseConsumer(ConsumerId),
    CloseDataProducer(DataProducerId),
    CloseDataConsumer(DataConsumerId),
    CloseRouter(wire::RouterId),
}

impl MediaStep {
    /// Of what it is about.
    fn id(self) -> Uuid {
        match self {
            Self::CloseTransport(id) => id.0,
            Self::PauseProducer(id) | Self::ResumeProducer(id) | Self::CloseProducer(id) => id.0,
            Self::CloseConsumer(id) => id.0,
            Self::CloseDataProducer(id) => id.0,
            Self::CloseDataConsumer(id) => id.0,
            Self::CloseRouter(id) => id.0,
        }
    }
}

impl Stage {
    /// One command, with all it brings about. What it changed is on disk when this returns.
    pub(super) async fn command(&mut self, command: Command) -> Result<Reply, Failure> {
        let reply = self.rooms.handle(self.clock.now(), command)?;
        self.settle().await?;
        Ok(reply)
    }

    /// Until there is nothing left to do. An error says that something could not be kept; the rest was done all the same.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        let mut kept = Ok(());
        loop {
            self.sync_subjects();
            self.sync_tally();
            let (changes, effects) = self.take_effects();
            if changes.is_empty() && effects.is_empty() {
                break;
            }
            kept = kept.and(self.keep(changes).await);
            self.perform(effects).await;
        }
        self.sync_priorities().await;
        self.sync_detail().await;
        kept
    }

    /// Hands on what was only said. Scores and volumes come many times a second and change nothing that [`Self::settle`]
    /// would have to look at everybody for.
    pub(super) async fn deliver(&mut self) {
        let (changes, effects) = self.take_effects();
        let is_said = |effect: &Effect| matches!(effect, Effect::Notify { .. });
        if !changes.is_empty() || !effects.iter().all(is_said) {
            let _ = self.keep(changes).await;
            self.perform(effects).await;
            let _ = self.settle().await;
            return;
        }
        for effect in effects {
            if let Effect::Notify { session, notice } = effect
                && let Err(gone) = self.outboxes.say(session, notice)
            {
                self.on_disconnected(gone).await;
            }
        }
    }

    fn take_effects(&mut self) -> (Vec<Change>, Vec<Effect>) {
        let (mut changes, mut effects) = (Vec::new(), Vec::new());
        while let Some(effect) = self.rooms.poll_effect() {
            match effect {
                Effect::Keep(change) => changes.push(change),
                effect => effects.push(effect),
            }
        }
        (changes, effects)
    }

    async fn keep(&mut self, changes: Vec<Change>) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        match self.store.apply(changes).await {
            Ok(()) => {
                self.store_problem = None;
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "cannot keep a change");
                self.store_problem = Some(format!("Changes cannot be saved: {error}."));
                let text = format!(
                    "This could not be saved ({error}): check that the disk is not full, then try again."
                );
                Err(Failure::new(Code::Internal, text))
            }
        }
    }

    async fn perform(&mut self, effects: Vec<Effect>) {
        let mut steps = Vec::new();
        let mut gone = Vec::new();
        for effect in effects {
            match effect {
                Effect::Keep(_) => unreachable!("taken out by `take_effects`"),
                Effect::Notify { session, notice } => gone.extend(self.outboxes.say(session, notice).err()),
                Effect::CloseSession(session) => self.outboxes.close(session),
                Effect::CloseTransport(id) => {
                    self.paths.forget(id);
                    steps.push(MediaStep::CloseTransport(id));
                }
                Effect::PauseProducer(id) => steps.push(MediaStep::PauseProducer(id)),
                Effect::ResumeProducer(id) => steps.push(MediaStep::ResumeProducer(id)),
                Effect::CloseProducer(id) => steps.push(MediaStep::CloseProducer(id)),
                Effect::CloseConsumer(id) => steps.push(MediaStep::CloseConsumer(id)),
                Effect::CloseDataProducer(id) => steps.push(MediaStep::CloseDataProducer(id)),
                Effect::CloseDataConsumer(id) => steps.push(MediaStep::CloseDataConsumer(id)),
                Effect::Bind { slot, occupant } => self.media.bind_slot(slot, occupant),
                Effect::RoomClosed(room) => {
                    steps.extend(self.placement.remove(&room).map(MediaStep::CloseRouter))
                }
                Effect::Note { severity, text } => self.board.note(self.clock.note(severity, text)),
                Effect::Happened(happening) => self.tell_outside(&happening),
                Effect::RosterChanged => self.board.touch(),
            }
        }
        self.forward(steps).await;
        self.sync_feeds().await;
        self.sync_observed().await;
        for session in gone {
            let _ = self.rooms.handle(self.clock.now(), Command::Disconnected(session));
        }
    }

    /// Webhooks never hold anybody up.
    pub(super) fn tell_outside(&self, happening: &Happening) {
        if !self.webhooks.is_empty() {
            self.webhooks.send(&rooms::rfc3339(self.clock.now().unix_ms), happening);
        }
    }

    async fn forward(&mut self, steps: Vec<MediaStep>) {
        let mut by_worker: BTreeMap<usize, Vec<MediaStep>> = BTreeMap::new();
        for step in steps {
            by_worker.entry(self.workers.home_index(step.id())).or_default().push(step);
        }
        for (worker, steps) in by_worker {
            let done = self.workers.at(worker).call(move |sfu, now| {
                for step in steps {
                    // What is gone already needs no closing: that refusal is no news.
                    match step {
                        MediaStep::CloseTransport(id) => sfu.close_transport(id),
                        MediaStep::PauseProducer(id) => drop(sfu.pause_producer(now, id)),
                        MediaStep::ResumeProducer(id) => drop(sfu.resume_producer(now, id)),
                        MediaStep::CloseProducer(id) => drop(sfu.close_producer(now, id)),
                        MediaStep::CloseConsumer(id) => drop(sfu.close_consumer(now, id)),
                        MediaStep::CloseDataProducer(id) => drop(sfu.close_data_producer(id)),
                        MediaStep::CloseDataConsumer(id) => drop(sfu.close_data_consumer(id)),
                        MediaStep::CloseRouter(id) => sfu.close_router(id),
                    }
                }
            });
            if let Err(gone) = done.await {
                // Only a stopped worker forgets; a busy one would keep media that nobody owns.
                tracing::error!(error = %worker_failure(gone), "media could not be closed");
            }
        }
    }

    pub(super) async fn on_disconnected(&mut self, session: SessionId) {
        self.outboxes.close(session);
        if self.closing {
            // It is we who leave: nobody waits for them here any more.
            return;
        }
        // A session that was taken over, removed or never joined is nobody's any more.
        let _ = self.command(Command::Disconnected(session)).await;
    }
}
