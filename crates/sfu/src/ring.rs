//! The last packets of one received stream, kept once for all who may ask for them again.

/// A byte arena written round and round, and an index by sequence number. Grows to its full size with the first
/// packets; never after.
#[derive(Debug)]
pub struct PacketRing {
    arena: Vec<u8>,
    /// Octets ever written; the newest are the last `arena.len()` of them.
    written: u64,
    index: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Extended sequence number; 0 is none (extended numbers begin at 65,536).
    sequence: u64,
    at: u64,
    len: u16,
}

impl PacketRing {
    pub fn new() -> Self {
        Self { arena: Vec::new(), written: 0, index: Vec::new() }
    }

    /// Fetches where a packet of `octets` will go.
    pub fn prefetch(&self, octets: usize) {
        if let Some(free) = self.arena.get((self.written % ARENA as u64) as usize..) {
            prefetch::start(free, octets);
        }
    }

    /// Keeps a packet, forgetting the oldest ones its octets overwrite.
    pub fn push(&mut self, sequence: u64, packet: &[u8]) {
        if packet.len() > MAX_PACKET {
            return;
        }
        if self.arena.is_empty() {
            self.arena = vec![0; ARENA];
            self.index = vec![Entry::default(); INDEX];
        }
        let place = (self.written % ARENA as u64) as usize;
        // A packet lies in one piece: what is left at the end of the arena is skipped.
        let skipped = if place + packet.len() > ARENA { ARENA - place } else { 0 };
        let at = self.written + skipped as u64;
        let start = (at % ARENA as u64) as usize;
        self.arena[start..start + packet.len()].copy_from_slice(packet);
        self.written = at + packet.len() as u64;
        self.index[(sequence % INDEX as u64) as usize] = Entry { sequence, at, len: packet.len() as u16 };
    }

    pub fn find(&self, sequence: u64) -> Option<&[u8]> {
        let entry = self.index.get((sequence % INDEX as u64) as usize)?;
        if entry.sequence != sequence || self.written - entry.at > ARENA as u64 {
            return None;
        }
        let start = (entry.at % ARENA as u64) as usize;
        self.arena.get(start..start + usize::from(entry.len))
    }
}

/// One second of 2 Mbit/s.
const ARENA: usize = 256 * 1024;
/// Two seconds of 250 packets each.
const INDEX: usize = 512;
/// No path carries more; an arena place must hold it whole.
const MAX_PACKET: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_packets_are_found_whole_and_the_oldest_are_gone() {
        let mut ring = PacketRing::new();
        let packet = |sequence: u64| vec![sequence as u8; 100 + (sequence * 37 % 1100) as usize];
        for sequence in 65_536..70_000u64 {
            ring.push(sequence, &packet(sequence));
            assert_eq!(ring.find(sequence), Some(&packet(sequence)[..]));
            let mut found = 0;
            for back in 0..600 {
                if let Some(bytes) = ring.find(sequence - back) {
                    assert_eq!(bytes, packet(sequence - back));
                    found += 1;
                }
            }
            assert!(sequence < 65_900 || found > 250);
        }
        assert_eq!(ring.find(65_536), None);
        assert_eq!(ring.find(0), None);
    }
}
