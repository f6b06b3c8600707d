//! The supplier's association: awake while records go to and fro, packed into some hundred octets while none do.
//!
//! Media does not go through DTLS. A transport without data channels exchanges records at its beginning and at its end;
//! in between, the supplier would keep its whole handshake, which is a fifth of what a listener costs in memory.

use super::{Failure, fence};
use bytes::BytesMut;
use rtc_dtls::config::HandshakeConfig;
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Association {
    form: Form,
    /// To wake with.
    config: Arc<HandshakeConfig>,
    provider: Arc<dyn RTCCryptoProvider>,
}

enum Form {
    Awake(Endpoint),
    /// The negotiated state in the supplier's own writing. Its replay window is not in it: nothing but the end of the
    /// handshake was received before.
    Packed(Box<[u8]>),
}

impl Association {
    /// `server`: what to answer with; without, we are to [`Self::connect`]. `config` is that of a client.
    pub fn new(
        server: Option<Arc<HandshakeConfig>>,
        config: Arc<HandshakeConfig>,
        provider: Arc<dyn RTCCryptoProvider>,
    ) -> Self {
        Self { form: Form::Awake(Endpoint::new(LOCAL, TransportProtocol::UDP, server)), config, provider }
    }

    /// Begins the handshake as client.
    pub fn connect(&mut self, now: Instant) -> Result<(), Failure> {
        let config = self.config.clone();
        let endpoint = self.wake(now)?;
        fence(|| endpoint.connect(now, PEER, config, None))
    }

    /// Before the client's first datagram is read.
    pub fn set_server_config(&mut self, config: Arc<HandshakeConfig>) {
        if let Form::Awake(endpoint) = &mut self.form {
            endpoint.set_server_config(Some(config));
        }
    }

    pub fn read(&mut self, now: Instant, datagram: &[u8]) -> Result<Vec<EndpointEvent>, Failure> {
        let endpoint = self.wake(now)?;
        fence(|| endpoint.read(now, PEER, None, BytesMut::from(datagram)))
    }

    /// Seals application data.
    pub fn write(&mut self, now: Instant, data: &[u8]) -> Result<(), Failure> {
        let endpoint = self.wake(now)?;
        fence(|| endpoint.write(now, PEER, data))
    }

    pub fn close(&mut self, now: Instant) {
        if let Ok(endpoint) = self.wake(now) {
            let _ = fence(|| endpoint.close(now));
        }
    }

    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        match &mut self.form {
            Form::Awake(endpoint) => Some(endpoint.poll_transmit()?.message),
            Form::Packed(_) => None,
        }
    }

    /// What was negotiated; only while awake.
    pub fn state(&self) -> Option<&State> {
        match &self.form {
            Form::Awake(endpoint) => endpoint.get_connection_state(PEER),
            Form::Packed(_) => None,
        }
    }

    pub fn is_open(&self) -> bool {
        self.is_packed() || self.state().is_some()
    }

    pub fn is_packed(&self) -> bool {
        matches!(self.form, Form::Packed(_))
    }

    /// After the handshake, when everything was sent; what cannot be packed stays as it is.
    pub fn pack(&mut self) {
        let Some(packed) = self.state().and_then(|state| fence(|| state.marshal_binary()).ok()) else {
            return;
        };
        self.form = Form::Packed(packed.into());
    }

    fn wake(&mut self, now: Instant) -> Result<&mut Endpoint, Failure> {
        if let Form::Packed(packed) = &self.form {
            let mut endpoint = Endpoint::new(LOCAL, TransportProtocol::UDP, None);
            let mut state = State::new(self.provider.clone(), false);
            fence(|| state.unmarshal_binary(packed))?;
            // "Connects" as what it was: the state says which side it is, and that the handshake is done.
            fence(|| endpoint.connect(now, PEER, self.config.clone(), Some(state)))?;
            self.form = Form::Awake(endpoint);
        }
        match &mut self.form {
            Form::Awake(endpoint) => Ok(endpoint),
            Form::Packed(_) => Err(Failure::Handshake("the association did not wake".into())),
        }
    }
}

/// The supplier keys associations by address; ICE moves addresses, so it is shown a constant one.
pub(super) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 1);
