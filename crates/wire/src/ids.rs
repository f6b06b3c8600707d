//! Identifiers made by the server: random UUIDs, unguessable, strings on the wire.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use ts_rs::TS;
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
        #[serde(transparent)]
        #[ts(export, type = "string")]
        pub struct $name(pub Uuid);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": "uuid" })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    )*};
}

id! {
    /// One signaling session in a room; ends with `leave-room`, removal, or the end of its grace time.
    PeerId
    /// One ICE + DTLS association between a client and the engine.
    TransportId
    /// One track a client sends.
    ProducerId
    /// One track a client receives.
    ConsumerId
    /// One data channel a client sends on.
    DataProducerId
    /// One data channel a client receives on.
    DataConsumerId
    /// One alarm, from when it is raised until it is over.
    AlarmId
    /// One connection in the swarms, as others know it.
    SwarmPeerId
    /// One invite; its token is another, secret string.
    InviteId
    /// An in-process consumer that feeds an output.
    TapId
    /// The media side of one room.
    RouterId
}
