//! What a peer asks of data channels; as with tracks: may they, then the forwarding plane does it, and it is written down.

use super::Stage;
use super::peers::unexpected;
use rooms::{PeerCommand, Refusal, SessionId};
use wire::Failure;
use wire::sfu::*;

impl Stage {
    pub(super) async fn data_request(
        &mut self,
        session: SessionId,
        request: PeerRequest,
    ) -> Result<PeerReply, Failure> {
        match request {
            PeerRequest::ProduceData(asked) => self.produce_data(session, asked).await,
            PeerRequest::ConsumeData(asked) => self.consume_data(session, asked).await,
            PeerRequest::PauseDataConsumer(asked) => self.pause_data_consumer(session, asked, true).await,
            PeerRequest::ResumeDataConsumer(asked) => self.pause_data_consumer(session, asked, false).await,
            PeerRequest::CloseDataConsumer(DataConsumerRef { data_consumer_id }) => {
                self.change(session, PeerCommand::CloseDataConsumer(data_consumer_id)).await
            }
            PeerRequest::CloseDataProducer(DataProducerRef { data_producer_id }) => {
                self.change(session, PeerCommand::CloseDataProducer(data_producer_id)).await
            }
            _ => Err(unexpected()),
        }
    }

    async fn produce_data(&mut self, session: SessionId, asked: ProduceData) -> Result<PeerReply, Failure> {
        let ProduceData { transport_id: transport, sctp_stream_parameters, label, protocol, app_data } =
            asked;
        self.rooms.may_produce_data(session, transport)?;
        let names = (label.clone(), protocol.clone());
        let id = self
            .try_sfu(transport.0, move |sfu, _| {
                sfu.produce_data(transport, &sctp_stream_parameters, names.0, names.1)
            })
            .await?;
        let add = PeerCommand::AddDataProducer { transport, id, label, protocol, app_data };
        match self.change(session, add).await {
            Ok(_) => Ok(PeerReply::DataProduced { id }),
            Err(failure) => {
                let _ = self.workers.home(id.0).call(move |sfu, _| sfu.close_data_producer(id)).await;
                Err(failure)
            }
        }
    }

    async fn consume_data(&mut self, session: SessionId, asked: ConsumeData) -> Result<PeerReply, Failure> {
        let producer = asked.data_producer_id;
        let transport = self.rooms.may_consume_data(session, asked.transport_id, producer)?;
        let paused = asked.paused.unwrap_or(false);
        let options =
            self.try_sfu(transport.0, move |sfu, _| sfu.consume_data(transport, producer, paused)).await?;
        let id = options.id;
        if let Err(failure) =
            self.change(session, PeerCommand::AddDataConsumer { transport, id, producer }).await
        {
            let _ = self.workers.home(id.0).call(move |sfu, _| sfu.close_data_consumer(id)).await;
            return Err(failure);
        }
        let owner = self.rooms.data_producer_owner(producer);
        let (peer_id, app_data) = owner.ok_or(Refusal::NotFound("data producer"))?;
        let app_data = app_data.clone();
        Ok(PeerReply::DataConsumer(Box::new(DataConsumerReply { options, peer_id, app_data })))
    }

    async fn pause_data_consumer(
        &mut self,
        session: SessionId,
        asked: DataConsumerRef,
        paused: bool,
    ) -> Result<PeerReply, Failure> {
        let id = asked.data_consumer_id;
        self.rooms.may_use_data_consumer(session, id)?;
        self.try_sfu(id.0, move |sfu, _| sfu.pause_data_consumer(id, paused)).await?;
        Ok(PeerReply::Done {})
    }
}
