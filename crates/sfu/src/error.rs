//! Why the media plane refuses.

use thiserror::Error;

/// Each variant exists because a caller answers its client differently.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A parameter is malformed, out of its bounds, or contradicts another.
    #[error("{0}")]
    Invalid(String),
    #[error("this room does not have the codec {0}")]
    UnsupportedCodec(String),
    #[error("this device has no codec for that producer")]
    CannotConsume,
    #[error("too many {0}")]
    Limit(&'static str),
    /// `connect_transport` a second time.
    #[error("the transport is already connected")]
    AlreadyConnected,
    /// The cryptography library refused; not the client's doing.
    #[error("cryptography failed: {0}")]
    Crypto(String),
}

impl Error {
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(reason.into())
    }
}
