//! A candidate line as browsers print it (RFC 8839 §5.1), read no further than punching needs.

use crate::error::Error;
use std::net::{IpAddr, SocketAddr};

/// Where a client says it may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    Udp(SocketAddr),
    /// A name of multicast DNS, TCP, or something newer: nothing to punch.
    Other,
}

/// `candidate:<foundation> <component> <transport> <priority> <address> <port> typ <type> …`. An empty line is the end of
/// candidates.
pub fn parse(line: &str) -> Result<Remote, Error> {
    let malformed = || Error::invalid("the ICE candidate is not a candidate line");
    if line.len() > MAX_LINE {
        return Err(malformed());
    }
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.is_empty() {
        return Ok(Remote::Other);
    }
    let mut fields = line.strip_prefix("candidate:").ok_or_else(malformed)?.split_ascii_whitespace();
    let mut next = || fields.next().ok_or_else(malformed);
    let (_foundation, component, transport, priority) = (next()?, next()?, next()?, next()?);
    let (address, port, typ, _kind) = (next()?, next()?, next()?, next()?);
    let component: u16 = component.parse().map_err(|_| malformed())?;
    let _priority: u32 = priority.parse().map_err(|_| malformed())?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    if typ != "typ" || !(1..=256).contains(&component) {
        return Err(malformed());
    }
    match address.parse::<IpAddr>() {
        Ok(ip) if transport.eq_ignore_ascii_case("udp") && port != 0 => {
            Ok(Remote::Udp(SocketAddr::new(ip, port)))
        }
        _ => Ok(Remote::Other),
    }
}

const MAX_LINE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_lines_are_read_and_others_refused() {
        let udp = "candidate:1 1 udp 2122260223 192.0.2.9 51000 typ host generation 0 ufrag abcd";
        assert_eq!(parse(udp), Ok(Remote::Udp("192.0.2.9:51000".parse().unwrap())));
        assert_eq!(
            parse("a=candidate:1 1 UDP 7 2001:db8::1 9 typ srflx raddr 0.0.0.0 rport 0"),
            Ok(Remote::Udp("[2001:db8::1]:9".parse().unwrap()))
        );
        for other in
            ["", "candidate:1 1 udp 7 0b1c.local 5 typ host", "candidate:1 1 tcp 7 192.0.2.9 9 typ host"]
        {
            assert_eq!(parse(other), Ok(Remote::Other), "{other}");
        }
        for bad in [
            "x",
            "candidate:",
            "candidate:1 1 udp 7 192.0.2.9 99999 typ host",
            "candidate:1 1 udp 7 a 5 type host",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
