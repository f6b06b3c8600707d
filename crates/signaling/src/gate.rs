//! How much one socket may ask: two token buckets, and a count of refusals that ends it.

use crate::config::Limits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wire::{Code, Failure};

/// What to do with a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Pass,
    Refuse(Failure),
    /// It went on for too long.
    End(Failure),
}

/// One socket's allowance.
#[derive(Debug)]
pub(crate) struct Gate {
    events: Bucket,
    bytes: Bucket,
    message_bytes: usize,
    refusals: u32,
    allowed_refusals: u32,
    last_refusal: Option<Instant>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            events: Bucket::new(limits.events_per_second, limits.event_burst, now),
            bytes: Bucket::new(limits.bytes_per_second, limits.byte_burst, now),
            message_bytes: limits.message_bytes,
            refusals: 0,
            allowed_refusals: limits.refusals,
            last_refusal: None,
        }
    }

    pub(crate) fn handle_message(&mut self, now: Instant, bytes: usize) -> Verdict {
        // Both are always charged: what was sent has been paid for in reading it.
        let events_fit = self.events.try_take(now, 1.0);
        let bytes_fit = self.bytes.try_take(now, bytes as f64);
        if bytes > self.message_bytes {
            let most = self.message_bytes / 1024;
            return self
                .refuse(now, Failure::new(Code::TooLarge, format!("A message has at most {most} kB.")));
        }
        if !(events_fit && bytes_fit) {
            return self.refuse(
                now,
                Failure::new(Code::RateLimited, "Too many messages. Wait a moment, then try again."),
            );
        }
        Verdict::Pass
    }

    /// Whether so many more copies of a message that passed may be sent to others, in this client's name.
    pub(crate) fn afford(&mut self, now: Instant, copies: usize, bytes: usize) -> Result<(), Failure> {
        if self.bytes.try_take(now, (copies * bytes) as f64) {
            return Ok(());
        }
        Err(Failure::new(Code::RateLimited, "Too many messages. Wait a moment, then try again."))
    }

    /// Counts a refusal that was decided elsewhere, too.
    pub(crate) fn refuse(&mut self, now: Instant, failure: Failure) -> Verdict {
        if self.last_refusal.is_some_and(|last| now.duration_since(last) > FORGIVEN_AFTER) {
            self.refusals = 0;
        }
        self.last_refusal = Some(now);
        self.refusals += 1;
        if self.refusals >= self.allowed_refusals { Verdict::End(failure) } else { Verdict::Refuse(failure) }
    }
}

/// How often each address may try to come in. Tokens are long, but nobody needs to try thousands.
#[derive(Clone, Debug)]
pub(crate) struct Porter {
    /// A lock, because every door asks; held for one look-up.
    tries: Arc<Mutex<HashMap<IpAddr, Bucket>>>,
    per_minute: u32,
    burst: u32,
}

impl Porter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { tries: Arc::default(), per_minute: limits.joins_per_minute, burst: limits.join_burst }
    }

    /// Programs on this machine are not counted: whoever runs them needs no door.
    pub(crate) fn check(&self, now: Instant, address: IpAddr) -> Result<(), Failure> {
        if address.is_loopback() {
            return Ok(());
        }
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= MAX_ADDRESSES {
            tries.retain(|_, bucket| !bucket.is_full(now));
        }
        let fits = match tries.len() < MAX_ADDRESSES || tries.contains_key(&network(address)) {
            true => {
                let fresh = || Bucket::at_rate(f64::from(self.per_minute) / 60.0, self.burst, now);
                tries.entry(network(address)).or_insert_with(fresh).try_take(now, 1.0)
            }
            false => false,
        };
        if fits {
            return Ok(());
        }
        Err(Failure::new(
            Code::RateLimited,
            "Too many attempts from your network. Wait a minute, then try again.",
        ))
    }
}

/// One customer of a provider has 2^64 IPv6 addresses (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    most: f64,
    left: f64,
    filled: Instant,
}

impl Bucket {
    fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self::at_rate(per_second.into(), burst, now)
    }

    fn at_rate(per_second: f64, burst: u32, now: Instant) -> Self {
        Self { per_second, most: burst.into(), left: burst.into(), filled: now }
    }

    fn is_full(&self, now: Instant) -> bool {
        self.left + now.duration_since(self.filled).as_secs_f64() * self.per_second >= self.most
    }

    fn try_take(&mut self, now: Instant, amount: f64) -> bool {
        let since = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.left = (self.left + since * self.per_second).min(self.most);
        let fits = self.left >= amount;
        if fits {
            self.left -= amount;
        }
        fits
    }
}

/// Addresses remembered at once; those that have been quiet are forgotten first.
const MAX_ADDRESSES: usize = 10_000;
/// A client that paused this long has understood.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn code(verdict: Verdict) -> Option<Code> {
        match verdict {
            Verdict::Pass => None,
            Verdict::Refuse(failure) | Verdict::End(failure) => Some(failure.code),
        }
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let start = Instant::now();
        let mut gate = Gate::new(&Limits::default(), start);
        for _ in 0..200 {
            assert_eq!(gate.handle_message(start, 100), Verdict::Pass);
        }
        assert_eq!(code(gate.handle_message(start, 100)), Some(Code::RateLimited));
        let later = start + Duration::from_secs(1);
        for _ in 0..50 {
            assert_eq!(gate.handle_message(later, 100), Verdict::Pass);
        }
        assert_eq!(code(gate.handle_message(later, 100)), Some(Code::RateLimited));
    }

    #[test]
    fn an_address_that_tries_too_often_waits() {
        let start = Instant::now();
        let limits = Limits { joins_per_minute: 60, join_burst: 3, ..Limits::default() };
        let porter = Porter::new(&limits);
        let comes = |after: u64, address: &str| {
            porter.check(start + Duration::from_secs(after), address.parse().unwrap()).is_ok()
        };
        assert!((0..3).all(|_| comes(0, "192.0.2.1")) && !comes(0, "192.0.2.1"));
        assert!(comes(0, "192.0.2.2"), "others are not concerned");
        assert!(comes(1, "192.0.2.1") && !comes(1, "192.0.2.1"));
        assert!((0..3).all(|host| comes(0, &format!("2001:db8::{host}"))) && !comes(0, "2001:db8::9"));
        assert!((0..100).all(|_| comes(0, "127.0.0.1")));
    }

    #[test]
    fn bytes_are_limited_too() {
        let start = Instant::now();
        let mut gate = Gate::new(&Limits::default(), start);
        for _ in 0..16 {
            assert_eq!(gate.handle_message(start, 64 * 1024), Verdict::Pass);
        }
        assert_eq!(code(gate.handle_message(start, 64 * 1024)), Some(Code::RateLimited));
        assert_eq!(code(gate.handle_message(start, 64 * 1024 + 1)), Some(Code::TooLarge));
    }

    #[test]
    fn who_goes_on_is_ended_and_who_pauses_is_forgiven() {
        let mut now = Instant::now();
        let mut gate = Gate::new(&Limits { event_burst: 0, events_per_second: 0, ..Limits::default() }, now);
        for _ in 0..199 {
            assert!(matches!(gate.handle_message(now, 1), Verdict::Refuse(_)));
        }
        now += FORGIVEN_AFTER + Duration::from_secs(1);
        for _ in 0..199 {
            assert!(matches!(gate.handle_message(now, 1), Verdict::Refuse(_)));
        }
        assert!(matches!(gate.handle_message(now, 1), Verdict::End(_)));
    }
}
