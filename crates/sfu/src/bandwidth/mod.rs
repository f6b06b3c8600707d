//! Bandwidth: what the path to a client carries, shared out fairly, sent without building queues; and what a client may
//! send.
//!
//! [`controller`] estimates from what [`history`], [`arrival`], [`trendline`], [`acknowledged`] and [`loss`] know, with
//! [`rate_control`] to draw the conclusion and [`probe`] to try out more; [`allocation`] shares the estimate out among
//! the pictures a client receives; [`pacer`] lets their packets out. [`incoming`] is the other direction.

mod acknowledged;
mod allocation;
mod arrival;
mod controller;
mod history;
mod incoming;
mod loss;
mod outgoing;
mod pacer;
mod probe;
mod rate_control;
mod trendline;

pub use allocation::{Allocation, Claim, RAISE};
pub use controller::Controller;
pub use incoming::{Change, IncomingLimit};
pub use outgoing::{Held, Outgoing};
pub use pacer::{Class, Pacer};
pub use probe::STEP as PROBE_STEP;

#[cfg(test)]
mod tests;

/// Microseconds since the worker began.
pub type Micros = u64;
