//! What a peer asks for: is it theirs, may they, then the forwarding plane does it and it is written down.

use super::{Stage, sfu_failure, worker_failure};
use rooms::{ChatText, Command, Join, PeerCommand, Reply, SessionId};
use signaling::{Caller, Outbox};
use std::time::Instant;
use uuid::Uuid;
use wire::sfu::*;
use wire::stats::StatsReport;
use wire::{Code, ConsumerId, DataConsumerId, DataProducerId, Failure, PeerId, ProducerId, TransportId};

impl Stage {
    pub(super) async fn join(
        &mut self,
        caller: Caller,
        request: JoinRoom,
        outbox: Outbox,
    ) -> Result<Joined, Failure> {
        if self.closing {
            return Err(Failure::new(Code::ServerClosing, "Greenroom is closing: try again in a moment."));
        }
        let session = SessionId(caller.session.0);
        let join = Join {
            session,
            room: request.room_id,
            token: request.token.or(caller.token),
            resume_token: request.resume_token,
            display_name: request.display_name,
            role: request.role,
        };
        let Reply::Joined(joined) = self.rooms.handle(self.clock.now(), Command::Join(join))? else {
            return Err(unexpected());
        };
        // Not before: a second join of the same session must not take the first one's outbox away.
        self.outboxes.open(session, outbox);
        self.tallies.forget(joined.peer);
        if let Err(failure) = self.settle().await {
            // Not kept, so not done: after a kill nobody would know this guest.
            let _ = self.command(Command::Peer(session, PeerCommand::Leave)).await;
            return Err(failure);
        }
        self.tell_speaker(joined.peer).await;
        self.names.note(joined.display_name.as_str());
        tracing::debug!(room = %joined.room, peer = %joined.peer, resumed = joined.resumed, "joined");
        Ok(Joined {
            peer_id: joined.peer,
            room_id: joined.room,
            role: joined.role,
            state: joined.state,
            display_name: joined.display_name,
            title: joined.title,
            router_rtp_capabilities: self.capabilities.clone(),
            peers: joined.peers,
            producers: joined.producers,
            data_producers: joined.data_producers,
            waiting: joined.waiting,
            may_send: joined.may_send,
            ice_servers: self.ice_servers.clone(),
            resume_token: joined.resume_token,
            resumed: joined.resumed,
        })
    }

    pub(super) async fn peer_request(
        &mut self,
        session: SessionId,
        request: PeerRequest,
    ) -> Result<PeerReply, Failure> {
        let peer = self.rooms.peer_of(session)?;
        match request {
            PeerRequest::GetRouterRtpCapabilities => Ok(PeerReply::Capabilities(self.capabilities.clone())),
            PeerRequest::CreateWebrtcTransport(asked) => self.create_transport(session, asked).await,
            PeerRequest::ConnectTransport(asked) => {
                self.rooms.may_use_transport(session, asked.transport_id)?;
                self.try_sfu(asked.transport_id.0, move |sfu, now| {
                    if let Some(parameters) = &asked.ice_parameters {
                        sfu.set_remote_ice(now, asked.transport_id, parameters)?;
                    }
                    sfu.connect_transport(now, asked.transport_id, asked.dtls_parameters)
                })
                .await?;
                Ok(PeerReply::Connected { connected: true })
            }
            PeerRequest::AddIceCandidate(asked) => {
                self.rooms.may_use_transport(session, asked.transport_id)?;
                self.try_sfu(asked.transport_id.0, move |sfu, now| {
                    if let Some(parameters) = &asked.ice_parameters {
                        sfu.set_remote_ice(now, asked.transport_id, parameters)?;
                    }
                    sfu.add_ice_candidate(asked.transport_id, &asked.candidate)
                })
                .await?;
                Ok(PeerReply::Done {})
            }
            PeerRequest::RestartIce(TransportRef { transport_id }) => {
                self.rooms.may_use_transport(session, transport_id)?;
                let ice_parameters =
                    self.try_sfu(transport_id.0, move |sfu, _| sfu.restart_ice(transport_id)).await?;
                Ok(PeerReply::IceRestarted { ice_parameters })
            }
            PeerRequest::Produce(asked) => self.produce(session, asked).await,
            PeerRequest::Consume(asked) => self.consume(session, asked).await,
            PeerRequest::PauseConsumer(ConsumerRef { consumer_id }) => {
                self.change(session, PeerCommand::PauseConsumer(consumer_id)).await?;
                self.try_sfu(consumer_id.0, move |sfu, now| sfu.pause_consumer(now, consumer_id)).await?;
                Ok(PeerReply::Done {})
            }
            PeerRequest::ResumeConsumer(ConsumerRef { consumer_id }) => {
                self.change(session, PeerCommand::ResumeConsumer(consumer_id)).await?;
                self.try_sfu(consumer_id.0, move |sfu, now| sfu.resume_consumer(now, consumer_id)).await?;
                Ok(PeerReply::Done {})
            }
            PeerRequest::CloseConsumer(ConsumerRef { consumer_id }) => {
                self.change(session, PeerCommand::CloseConsumer(consumer_id)).await
            }
            PeerRequest::PauseProducer(ProducerRef { producer_id }) => {
                self.change(session, PeerCommand::PauseProducer(producer_id)).await
            }
            PeerRequest::ResumeProducer(ProducerRef { producer_id }) => {
                self.change(session, PeerCommand::ResumeProducer(producer_id)).await
            }
            PeerRequest::CloseProducer(ProducerRef { producer_id }) => {
                self.change(session, PeerCommand::CloseProducer(producer_id)).await
            }
            PeerRequest::SetPreferredLayers(asked) => {
                self.rooms.may_use_consumer(session, asked.consumer_id)?;
                self.try_sfu(asked.consumer_id.0, move |sfu, _| {
                    sfu.set_preferred_layers(asked.consumer_id, asked.spatial_layer, asked.temporal_layer)
                })
                .await?;
                Ok(PeerReply::Done {})
            }
            PeerRequest::RequestKeyFrame(ConsumerRef { consumer_id }) => {
                self.rooms.may_use_consumer(session, consumer_id)?;
                self.try_sfu(consumer_id.0, move |sfu, now| sfu.request_key_frame(now, consumer_id)).await?;
                Ok(PeerReply::Done {})
            }
            PeerRequest::ProduceData(_)
            | PeerRequest::ConsumeData(_)
            | PeerRequest::PauseDataConsumer(_)
            | PeerRequest::ResumeDataConsumer(_)
            | PeerRequest::CloseDataConsumer(_)
            | PeerRequest::CloseDataProducer(_) => self.data_request(session, request).await,
            PeerRequest::GetStats(asked) => self.stats(session, peer, asked).await,
            PeerRequest::Admit(AdmitPeer { peer_id, slot }) => {
                self.change(session, PeerCommand::Admit { peer: peer_id, slot }).await?;
                self.tell_speaker(peer_id).await;
                Ok(PeerReply::Done {})
            }
            PeerRequest::AssignSlot(AdmitPeer { peer_id, slot }) => {
                self.change(session, PeerCommand::AssignSlot { peer: peer_id, slot }).await
            }
            PeerRequest::MutePeer(SilencePeer { peer_id, kind, muted }) => {
                self.change(session, PeerCommand::Mute { peer: peer_id, kind, muted }).await
            }
            PeerRequest::RemovePeer(PeerRef { peer_id }) => {
                self.change(session, PeerCommand::Remove(peer_id)).await
            }
            PeerRequest::Chat(Chat { text }) => {
                self.change(session, PeerCommand::Chat(ChatText::parse(&text)?)).await
            }
            PeerRequest::RaiseHand(RaiseHand { raised }) => {
                self.change(session, PeerCommand::RaiseHand(raised)).await
            }
            PeerRequest::SetDisplayName(SetDisplayName { display_name }) => {
                self.names.note(display_name.as_str());
                self.change(session, PeerCommand::SetDisplayName(display_name)).await
            }
            PeerRequest::Signal(Signal { to, signal }) => {
                self.change(session, PeerCommand::Signal { to, signal }).await
            }
            PeerRequest::LeaveRoom => self.change(session, PeerCommand::Leave).await,
        }
    }

    pub(super) async fn change(
        &mut self,
        session: SessionId,
        command: PeerCommand,
    ) -> Result<PeerReply, Failure> {
        self.command(Command::Peer(session, command)).await?;
        Ok(PeerReply::Done {})
    }

    async fn create_transport(
        &mut self,
        session: SessionId,
        asked: CreateTransport,
    ) -> Result<PeerReply, Failure> {
        let direction = asked
            .direction()
            .ok_or_else(|| Failure::new(Code::InvalidRequest, "Say `direction`: \"send\" or \"recv\"."))?;
        let room = self.rooms.may_create_transport(session, direction)?;
        let router = self.router_of(&room).await?;
        let with_sctp = asked.enable_sctp.unwrap_or(true);
        let mut options = self
            .try_sfu(router.0, move |sfu, now| {
                let mut options = sfu.create_transport(now, router, direction)?;
                if with_sctp {
                    options.sctp_parameters = Some(sfu.enable_sctp(options.id)?);
                }
                Ok(options)
            })
            .await?;
        options.ice_servers = self.ice_servers.clone();
        if asked.force_tcp == Some(true) {
            options.ice_candidates.retain(|candidate| candidate.protocol == "tcp");
        }
        self.change(session, PeerCommand::AddTransport { id: options.id, direction }).await?;
        Ok(PeerReply::Transport(Box::new(options)))
    }

    async fn produce(&mut self, session: SessionId, asked: Produce) -> Result<PeerReply, Failure> {
        let Produce { transport_id: transport, kind, rtp_parameters, app_data, paused } = asked;
        let muted = self.rooms.may_produce(session, transport, kind)?;
        let paused = paused.unwrap_or(false);
        let id = self
            .try_sfu(transport.0, move |sfu, now| {
                sfu.produce(now, transport, kind, rtp_parameters, paused || muted)
            })
            .await?;
        let add = PeerCommand::AddProducer { transport, id, kind, app_data, paused };
        match self.change(session, add).await {
            Ok(_) => Ok(PeerReply::Produced { id }),
            Err(failure) => {
                let _ = self.workers.home(id.0).call(move |sfu, now| sfu.close_producer(now, id)).await;
                Err(failure)
            }
        }
    }

    async fn consume(&mut self, session: SessionId, asked: Consume) -> Result<PeerReply, Failure> {
        let producer = asked.producer_id;
        let transport = self.rooms.may_consume(session, asked.transport_id, producer)?;
        let paused = asked.paused.unwrap_or(true);
        let options = self
            .try_sfu(transport.0, move |sfu, now| {
                sfu.consume(now, transport, producer, &asked.rtp_capabilities, paused)
            })
            .await?;
        let id = options.id;
        let add = PeerCommand::AddConsumer { transport, id, producer, paused };
        if let Err(failure) = self.change(session, add).await {
            let _ = self.workers.home(id.0).call(move |sfu, now| sfu.close_consumer(now, id)).await;
            return Err(failure);
        }
        let (peer_id, app_data) = match self.rooms.producer_owner(producer) {
            Some((peer, app_data)) => (peer, app_data.clone()),
            None => return Err(rooms::Refusal::NotFound("producer").into()),
        };
        Ok(PeerReply::Consumer(Box::new(ConsumerReply { options, peer_id, app_data })))
    }

    /// One of the peer's things, or everything of the peer.
    async fn stats(
        &mut self,
        session: SessionId,
        peer: PeerId,
        asked: GetStats,
    ) -> Result<PeerReply, Failure> {
        let mut wanted = Wanted { quality_of: self.rooms.transports_of(peer), ..Wanted::default() };
        if asked.named() > 1 {
            return Err(Failure::new(
                Code::InvalidRequest,
                "Ask for the statistics of one thing, or of all.",
            ));
        }
        if let Some(id) = asked.transport_id {
            self.rooms.may_use_transport(session, id)?;
            wanted.transports.push(id);
        } else if let Some(id) = asked.producer_id {
            self.rooms.may_use_producer(session, id)?;
            wanted.producers.push(id);
        } else if let Some(id) = asked.consumer_id {
            self.rooms.may_use_consumer(session, id)?;
            wanted.consumers.push(id);
            wanted.consumed.push(id);
        } else if let Some(id) = asked.data_producer_id {
            self.rooms.may_use_data_producer(session, id)?;
            wanted.data_producers.push(id);
        } else if let Some(id) = asked.data_consumer_id {
            self.rooms.may_use_data_consumer(session, id)?;
            wanted.data_consumers.push(id);
        } else {
            wanted.transports = wanted.quality_of.clone();
            wanted.producers = self.rooms.tracks_of(peer).into_iter().map(|track| track.id).collect();
            wanted.consumers = self.rooms.consumers_of(peer);
            wanted.data_producers = self.rooms.data_producers_of(peer);
            wanted.data_consumers = self.rooms.data_consumers_of(peer);
        }
        Ok(PeerReply::Stats(Box::new(self.read_stats(wanted).await?)))
    }

    /// Of one peer: everything of a peer is in one room, and so on one worker.
    pub(super) async fn read_stats(&self, wanted: Wanted) -> Result<StatsReport, Failure> {
        let Some(transport) = wanted.quality_of.first() else { return Ok(StatsReport::default()) };
        let worker = self.workers.home(transport.0);
        worker.call(move |sfu, now| wanted.read(sfu, now)).await.map_err(worker_failure)
    }

    /// Asks the forwarding plane for something it may refuse; `about` is the id of what it is asked about.
    pub(super) async fn try_sfu<R: Send + 'static>(
        &self,
        about: Uuid,
        job: impl FnOnce(&mut sfu::Worker, Instant) -> Result<R, sfu::Error> + Send + 'static,
    ) -> Result<R, Failure> {
        self.workers.home(about).call(job).await.map_err(worker_failure)?.map_err(sfu_failure)
    }
}

/// What a `get-stats` is about.
#[derive(Default)]
pub(super) struct Wanted {
    pub quality_of: Vec<TransportId>,
    pub transports: Vec<TransportId>,
    pub producers: Vec<ProducerId>,
    pub consumers: Vec<ConsumerId>,
    /// Whose incoming stream is wanted, too.
    pub consumed: Vec<ConsumerId>,
    pub data_producers: Vec<DataProducerId>,
    pub data_consumers: Vec<DataConsumerId>,
}

impl Wanted {
    /// What closed meanwhile is left out.
    pub fn read(self, sfu: &mut sfu::Worker, now: Instant) -> StatsReport {
        StatsReport {
            quality: sfu.quality(now, &self.quality_of),
            transports: self.transports.into_iter().filter_map(|id| sfu.transport_stats(now, id)).collect(),
            producers: self
                .producers
                .into_iter()
                .flat_map(|id| sfu.producer_stats(now, id))
                .chain(self.consumed.into_iter().filter_map(|id| sfu.consumed_stream_stats(now, id)))
                .collect(),
            consumers: self.consumers.into_iter().filter_map(|id| sfu.consumer_stats(now, id)).collect(),
            data_producers: self
                .data_producers
                .into_iter()
                .filter_map(|id| sfu.data_producer_stats(now, id))
                .collect(),
            data_consumers: self
                .data_consumers
                .into_iter()
                .filter_map(|id| sfu.data_consumer_stats(now, id))
                .collect(),
        }
    }
}

pub(super) fn unexpected() -> Failure {
    Failure::new(Code::Internal, "Something went wrong inside Greenroom: try again.")
}
