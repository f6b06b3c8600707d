//! The last lines of the log, kept for a support bundle.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Cloneable; all clones are the same. *State* kind: when there are too many octets, the oldest lines go.
#[derive(Clone, Debug, Default)]
pub struct LogTail(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<String>,
    octets: usize,
}

impl LogTail {
    /// Oldest first.
    pub fn text(&self) -> String {
        // A lock, because every thread logs; held for one line, or for one copy.
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lines.iter().map(String::as_str).collect()
    }

    fn push(&self, line: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = line.floor_char_boundary(LONGEST_LINE);
        let line = if end < line.len() { format!("{}…\n", &line[..end]) } else { line.to_owned() };
        kept.octets += line.len();
        kept.lines.push_back(line);
        while kept.octets > MOST_OCTETS {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.octets -= oldest.len();
        }
    }
}

/// One event is one write, as `tracing_subscriber::fmt` does it.
impl Write for LogTail {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Half an hour of debugging a lively show.
const MOST_OCTETS: usize = 2 * 1024 * 1024;
const LONGEST_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_lines_stay_and_long_ones_are_cut() {
        let mut tail = LogTail::default();
        for number in 0..100_000 {
            writeln!(tail, "line {number} of a log that goes on and on").unwrap();
        }
        let text = tail.text();
        assert!(text.len() <= MOST_OCTETS && text.len() > MOST_OCTETS / 2);
        assert!(text.ends_with("line 99999 of a log that goes on and on\n") && !text.contains("line 7 "));
        tail.write_all("ä".repeat(10_000).as_bytes()).unwrap();
        assert!(tail.text().ends_with("ä…\n"));
    }
}
