//! Coming and going: whether a server's memory stays what it is while people join and leave.

use crate::greenroom::{Guest, Server};
use crate::process;
use anyhow::Result;
use std::thread;
use std::time::Duration;

/// What an hour or a night of it left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub joins: usize,
    /// The server's memory in octets when nobody but the publisher was there: before, and after each quarter.
    pub memory: Vec<u64>,
}

impl Outcome {
    /// Octets that each join of the last three quarters left behind; the first fills tables and pools that then stay.
    pub fn per_join(&self) -> f64 {
        let [_, first, .., last] = self.memory[..] else { return 0.0 };
        (last as f64 - first as f64) / (self.joins - self.joins / QUARTERS).max(1) as f64
    }
}

/// `joins` people, [`AT_ONCE`] at a time, come over real signaling, ICE and DTLS into a room with one publisher who stays;
/// each second one shows a camera, the others watch. Nine of ten say goodbye, the tenth is just gone.
pub fn run(server: &Server, room: &str, joins: usize) -> Result<Outcome> {
    let mut lobby = server.lobby(room)?;
    let mut resident = lobby.join(Guest::Publisher)?;
    let mut memory = vec![process::memory(server.pid())?];
    let mut come = 0;
    for quarter in 1..=QUARTERS {
        while come < joins * quarter / QUARTERS {
            let crowd = AT_ONCE.min(joins * quarter / QUARTERS - come);
            let mut visitors = Vec::with_capacity(crowd);
            for _ in 0..crowd {
                let guest = if come.is_multiple_of(2) { Guest::Subscriber } else { Guest::Publisher };
                visitors.push((come, lobby.join(guest)?));
                come += 1;
            }
            resident.show()?;
            for (number, mut visitor) in visitors {
                visitor.show()?;
                match number % VANISHING {
                    0 => drop(visitor),
                    _ => visitor.leave()?,
                }
            }
        }
        // Who vanished is forgotten after the server's grace time.
        thread::sleep(Server::GRACE + SETTLING);
        resident.show()?;
        memory.push(process::memory(server.pid())?);
    }
    Ok(Outcome { joins, memory })
}

pub const QUARTERS: usize = 4;
const AT_ONCE: usize = 10;
const VANISHING: usize = 10;
const SETTLING: Duration = Duration::from_secs(2);
