//! Our own addresses as STUN servers see them (RFC 8445 §5.1.1.2): what guests elsewhere must be told when we sit
//! behind a NAT. Asked again and again, since that is also what keeps the NAT's door open (§5.1.1.4).

use crate::stun::{self, Kind, Message, TransactionId, Writer};
use rand::Rng;
use rand::rngs::StdRng;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The servers we ask, and what they said. Their answers need no password: nobody but who sees our question can answer
/// it, and a lie only makes a candidate that does not work.
#[derive(Default)]
pub struct Reflexive {
    servers: Vec<Server>,
}

struct Server {
    address: SocketAddr,
    transaction: TransactionId,
    unanswered: u32,
    next: Instant,
    mapped: Option<SocketAddr>,
}

impl Reflexive {
    /// Whom to ask from now on; what servers that stay have said stands.
    pub fn set_servers(&mut self, now: Instant, addresses: &[SocketAddr]) {
        let known = std::mem::take(&mut self.servers);
        let known = known.into_iter().filter(|s| addresses.contains(&s.address));
        self.servers = known.take(MAX_SERVERS).collect();
        for &address in addresses {
            if self.servers.len() < MAX_SERVERS && !self.servers.iter().any(|s| s.address == address) {
                let server = Server { address, transaction: [0; 12], unanswered: 0, next: now, mapped: None };
                self.servers.push(server);
            }
        }
    }

    /// Where others may reach our socket, each once.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let mapped = |server: &Server| server.mapped;
        let servers = self.servers.iter().enumerate();
        servers
            .filter(move |(n, s)| !self.servers[..*n].iter().any(|o| mapped(o) == s.mapped))
            .filter_map(move |(_, s)| s.mapped)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.servers.iter().map(|s| s.next).min()
    }

    /// The next question that is due.
    pub fn poll<'b>(
        &mut self,
        now: Instant,
        random: &mut StdRng,
        buffer: &'b mut [u8; stun::CAPACITY],
    ) -> Option<(SocketAddr, &'b [u8])> {
        let server = self.servers.iter_mut().find(|s| s.next <= now)?;
        if server.unanswered == 0 {
            random.fill(&mut server.transaction[..]);
        }
        if server.unanswered >= MAX_SENT {
            // It stays silent: what it said is stale by now. Later perhaps.
            server.mapped = None;
            server.unanswered = 0;
            server.next = now + LATER;
            return self.poll(now, random, buffer);
        }
        server.next = now + FIRST_TIMEOUT * (1 << server.unanswered);
        server.unanswered += 1;
        let question = Writer::new(buffer, Kind::Request, &server.transaction);
        Some((server.address, question.finish_open()))
    }

    /// Takes what may be an answer. False: it is none.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> bool {
        let Some(server) = self.servers.iter_mut().find(|s| s.address == from && s.unanswered > 0) else {
            return false;
        };
        let Some(answer) = Message::parse_public(datagram) else { return false };
        let (Kind::Success, Some(mapped)) = (answer.kind, answer.mapped_address) else { return false };
        if answer.transaction != server.transaction {
            return false;
        }
        server.mapped = Some(SocketAddr::new(mapped.ip().to_canonical(), mapped.port()));
        server.unanswered = 0;
        server.next = now + KEEPALIVE;
        true
    }
}

/// Two, each by IPv4 and IPv6.
const MAX_SERVERS: usize = 4;
/// RFC 8489 §6.2.1.
const FIRST_TIMEOUT: Duration = Duration::from_millis(500);
const MAX_SENT: u32 = 5;
/// NATs forget after two minutes (RFC 4787 §4.3), some sooner.
const KEEPALIVE: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const SERVER: &str = "198.51.100.50:3478";

    #[allow(clippy::disallowed_methods)]
    fn begin() -> (Reflexive, StdRng, Instant) {
        // Any instant will do; it never moves but by hand.
        let now = Instant::now();
        let mut reflexive = Reflexive::default();
        reflexive.set_servers(now, &[SERVER.parse().unwrap()]);
        (reflexive, StdRng::seed_from_u64(1), now)
    }

    fn ask(reflexive: &mut Reflexive, random: &mut StdRng, now: Instant) -> Option<TransactionId> {
        let mut buffer = [0; stun::CAPACITY];
        let (to, question) = reflexive.poll(now, random, &mut buffer)?;
        assert_eq!(to.to_string(), SERVER);
        Some(Message::parse(question).unwrap().transaction)
    }

    /// As public servers answer: without a fingerprint.
    fn answer(transaction: TransactionId, mapped: &str) -> Vec<u8> {
        let mut buffer = [0; stun::CAPACITY];
        let writer = Writer::new(&mut buffer, Kind::Success, &transaction);
        let whole = writer.mapped_address(mapped.parse().unwrap()).finish_open();
        let mut bytes = whole[..whole.len() - 8].to_vec();
        let length = (bytes.len() - 20) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    #[test]
    fn what_a_server_saw_is_known_until_it_falls_silent() {
        let (mut reflexive, mut random, mut now) = begin();
        let first = ask(&mut reflexive, &mut random, now).unwrap();
        assert_eq!(ask(&mut reflexive, &mut random, now), None);
        now += Duration::from_millis(500);
        assert_eq!(ask(&mut reflexive, &mut random, now), Some(first), "repeated");
        let from = SERVER.parse().unwrap();
        assert!(!reflexive.handle(now, from, &answer([9; 12], "203.0.113.7:10000")), "not ours");
        let elsewhere = "198.51.100.51:3478".parse().unwrap();
        assert!(!reflexive.handle(now, elsewhere, &answer(first, "203.0.113.7:10000")));
        assert!(reflexive.handle(now, from, &answer(first, "203.0.113.7:10000")));
        assert_eq!(reflexive.addresses().map(|a| a.to_string()).collect::<Vec<_>>(), ["203.0.113.7:10000"]);
        assert_eq!(reflexive.poll_timeout(), Some(now + KEEPALIVE));
        let mut asked = 0;
        for _ in 0..60 {
            now += Duration::from_secs(1);
            asked += u32::from(ask(&mut reflexive, &mut random, now).is_some());
        }
        assert_eq!(asked, MAX_SENT);
        assert_eq!(reflexive.addresses().count(), 0);
    }

    #[test]
    fn servers_that_see_the_same_make_one_candidate() {
        let (mut reflexive, mut random, now) = begin();
        let servers: Vec<SocketAddr> = (0..9).map(|n| SocketAddr::from(([198, 51, 100, n], 3478))).collect();
        reflexive.set_servers(now, &servers);
        assert_eq!(reflexive.servers.len(), MAX_SERVERS);
        for _ in 0..MAX_SERVERS {
            let mut buffer = [0; stun::CAPACITY];
            let (to, question) = reflexive.poll(now, &mut random, &mut buffer).unwrap();
            let transaction = Message::parse(question).unwrap().transaction;
            assert!(reflexive.handle(now, to, &answer(transaction, "203.0.113.7:10000")));
        }
        assert_eq!(reflexive.addresses().count(), 1);
    }
}
