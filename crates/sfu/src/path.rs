//! The way a datagram takes: a protocol, and the client's address on it.

use std::fmt;
use std::net::SocketAddr;

/// What carries datagrams between us and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Udp,
    /// Framed as RFC 4571 says; the client has opened the connection (RFC 6544 §4.1).
    Tcp,
}

/// Where a client is reached. Our own end is not part of it: there is one socket for each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    pub protocol: Protocol,
    pub address: SocketAddr,
}

impl Path {
    pub fn tcp(address: SocketAddr) -> Self {
        Self { protocol: Protocol::Tcp, address }
    }
}

/// UDP, as most paths are.
impl From<SocketAddr> for Path {
    fn from(address: SocketAddr) -> Self {
        Self { protocol: Protocol::Udp, address }
    }
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol.name(), self.address)
    }
}
