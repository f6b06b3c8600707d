//! The people plane: rooms, peers, roles, invites, slots and the green room, as one state machine.
//!
//! [`Rooms`] reads no clock, opens no socket and knows no packets. Commands go in through [`Rooms::handle`], what has
//! to happen elsewhere comes out of [`Rooms::poll_effect`], and time passes by [`Rooms::handle_timeout`]. Transports,
//! producers and consumers are only ids here, so that who owns what, and who may see what, is decided in one place.
//!
//! What always holds (checked after every step of a random run in the tests):
//!
//! * a peer is in one room, a session speaks for one peer, and a slot shows at most one peer;
//! * a room never holds more peers or producers than its limits;
//! * every consumer has a producer, in the same room, and belongs to a live peer; data channels likewise;
//! * what a waiting guest sends is seen by nobody in the room, and a waiting guest receives nothing;
//! * every guest came in by an invite and was not removed;
//! * nobody sends whom [`permission`] does not let.
#![forbid(unsafe_code)]

mod command;
mod data;
mod grant;
mod idle;
mod join;
mod jwt;
mod leave;
mod live;
mod media;
mod news;
mod owner;
pub mod permission;
mod record;
mod refusal;
mod relay;
mod roster;
mod slots;
mod swarm;
mod text;
mod time;
mod token;
mod view;

#[cfg(test)]
mod tests;

pub use command::*;
pub use grant::Grant;
pub use jwt::{BadKeys, Provider};
pub use live::{LiveEffects, LiveLimits, LiveRooms};
pub use record::{Change, Invite, Muted, RoomRecord, Saved, Seat, SeatId};
pub use refusal::Refusal;
pub use roster::{Limits, Rooms, Setup};
pub use swarm::{Introduction, SwarmLimits, Swarms};
pub use text::{ChatText, Title};
pub use time::{Now, rfc3339};
pub use token::{InviteToken, OwnerToken, SigningKey};
pub use view::ProducerView;
