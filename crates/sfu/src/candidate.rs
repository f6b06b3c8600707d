//! ICE candidates: ours, as clients are told of them, and theirs, as browsers print them (RFC 8839 §5.1).

use crate::error::Error;
use crate::path::Protocol;
use crate::worker::Config;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use wire::ortc::IceCandidate;

/// UDP as it is announced, UDP as STUN servers see it, then TCP: each in the order given.
pub fn offered(config: &Config, reflexive: impl Iterator<Item = SocketAddr>) -> Vec<IceCandidate> {
    let mut offered = Vec::new();
    let mut add = |base, address: SocketAddr| {
        let index = offered.len();
        offered.push(describe(base, index, address));
    };
    config.announced.iter().for_each(|address| add(Base::Udp, *address));
    let is_new = |address: &SocketAddr| !config.announced.contains(address);
    reflexive.filter(is_new).for_each(|address| add(Base::Reflexive, address));
    config.announced_tcp.iter().for_each(|address| add(Base::Tcp, *address));
    offered
}

/// Where a candidate of ours comes from.
#[derive(Clone, Copy)]
enum Base {
    Udp,
    Reflexive,
    Tcp,
}

fn describe(base: Base, index: usize, address: SocketAddr) -> IceCandidate {
    let (protocol, tcp_type) = match base {
        Base::Udp | Base::Reflexive => (Protocol::Udp, None),
        Base::Tcp => (Protocol::Tcp, Some("passive".into())),
    };
    IceCandidate {
        // One for each address and protocol (RFC 8445 §5.1.1.3).
        foundation: format!("{}{index}", protocol.name()),
        priority: priority(base, index),
        ip: address.ip().to_string(),
        address: address.ip().to_string(),
        protocol: protocol.name().into(),
        port: address.port(),
        // Also what STUN told: another type needs a related address (RFC 8839 §5.1), for which clients' types have no field.
        kind: "host".into(),
        tcp_type,
    }
}

/// RFC 8445 §5.1.2.1 for component 1, and RFC 6544 §4.2: a TCP candidate has a lower type preference, and its direction
/// (4, a passive one) in the upper bits of the local preference.
fn priority(base: Base, index: usize) -> u32 {
    let index = index.min(0x1FFF) as u32;
    let (type_preference, local_preference) = match base {
        Base::Udp => (126, 0xFFFF - index),
        Base::Reflexive => (100, 0xFFFF - index),
        Base::Tcp => (90, 4 << 13 | (0x1FFF - index)),
    };
    type_preference << 24 | local_preference << 8 | 255
}

/// Where a client says it may be reached by UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    pub address: SocketAddr,
    pub priority: u32,
}

/// `candidate:<foundation> <component> <transport> <priority> <address> <port> typ <type> …`. `None` is a candidate that
/// there is nothing to send to: a name of multicast DNS, TCP, an address no guest can have, the end of candidates.
pub fn parse(line: &str) -> Result<Option<Remote>, Error> {
    let malformed = || Error::invalid("the ICE candidate is not a candidate line");
    if line.len() > MAX_LINE {
        return Err(malformed());
    }
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.is_empty() {
        return Ok(None);
    }
    let mut fields = line.strip_prefix("candidate:").ok_or_else(malformed)?.split_ascii_whitespace();
    let mut next = || fields.next().ok_or_else(malformed);
    let (_foundation, component, transport, priority) = (next()?, next()?, next()?, next()?);
    let (address, port, typ, _kind) = (next()?, next()?, next()?, next()?);
    let component: u16 = component.parse().map_err(|_| malformed())?;
    let priority: u32 = priority.parse().map_err(|_| malformed())?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    if typ != "typ" || !(1..=256).contains(&component) {
        return Err(malformed());
    }
    // RTP and RTCP share component 1.
    if component != 1 || !transport.eq_ignore_ascii_case("udp") {
        return Ok(None);
    }
    let Ok(ip) = address.parse::<IpAddr>() else { return Ok(None) };
    let address = SocketAddr::new(ip.to_canonical(), port);
    Ok(may_be_a_guest(address).then_some(Remote { address, priority }))
}

/// Whether a browser can have this address, so that a packet to it harms nobody: somebody else's browser at the worst.
/// A guest on this machine finds us by itself. Link-local addresses need a scope (and one of them is where clouds keep
/// their secrets); the well-known ports are servers', never a browser's.
fn may_be_a_guest(address: SocketAddr) -> bool {
    let is_unicast = match address.ip() {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            // 0/8 is "this network", 240/4 reserved, up to broadcast (RFC 6890).
            !v4.is_loopback() && !v4.is_link_local() && !v4.is_multicast() && first != 0 && first < 240
        }
        IpAddr::V6(v6) => {
            // Translation prefixes lead to IPv4 addresses of any kind (RFC 6052, RFC 3056).
            let embeds_v4 = v6.segments()[..2] == [0x64, 0xFF9B] || v6.segments()[0] == 0x2002;
            let is_compatible = v6.segments()[..6] == [0; 6];
            !v6.is_multicast() && !v6.is_unicast_link_local() && !embeds_v4 && !is_compatible
        }
    };
    is_unicast && address.port() >= FIRST_USER_PORT && address.ip() != IpAddr::V4(Ipv4Addr::BROADCAST)
}

const MAX_LINE: usize = 1_024;
/// RFC 6335 §6.
const FIRST_USER_PORT: u16 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_lines_are_read_and_others_refused() {
        let read = |line: &str| parse(line).map(|found| found.map(|r| (r.address.to_string(), r.priority)));
        let udp = "candidate:1 1 udp 2122260223 192.0.2.9 51000 typ host generation 0 ufrag abcd";
        assert_eq!(read(udp), Ok(Some(("192.0.2.9:51000".into(), 2_122_260_223))));
        assert_eq!(
            read("a=candidate:1 1 UDP 7 2001:db8::1 5000 typ srflx raddr 0.0.0.0 rport 0"),
            Ok(Some(("[2001:db8::1]:5000".into(), 7)))
        );
        for other in [
            "",
            "candidate:1 1 udp 7 0b1c.local 5000 typ host",
            "candidate:1 1 tcp 7 192.0.2.9 9 typ host tcptype active",
            "candidate:1 2 udp 7 192.0.2.9 5000 typ host",
        ] {
            assert_eq!(parse(other), Ok(None), "{other}");
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

    #[test]
    fn nothing_is_sent_to_where_no_guest_can_be() {
        for (address, port) in [
            ("127.0.0.1", 5_000),
            ("::1", 5_000),
            ("::ffff:127.0.0.1", 5_000),
            ("0.0.0.0", 5_000),
            ("255.255.255.255", 5_000),
            ("224.0.0.251", 5_353),
            ("ff02::fb", 5_353),
            ("169.254.169.254", 8_080),
            ("fe80::1", 5_000),
            ("64:ff9b::7f00:1", 5_000),
            ("2002:7f00:1::", 5_000),
            ("192.0.2.9", 53),
            ("192.0.2.9", 0),
        ] {
            let line = format!("candidate:1 1 udp 7 {address} {port} typ host");
            assert_eq!(parse(&line), Ok(None), "{line}");
        }
    }
}
