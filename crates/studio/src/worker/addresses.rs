//! Which addresses of this machine are offered to clients as ICE host candidates.

use std::net::{IpAddr, SocketAddr};

/// One UDP candidate per usable address, nearest first: loopback (the streamer's own browser), then IPv4, then IPv6.
/// `announced`, when not empty, replaces what the machine says of itself.
pub fn candidates(announced: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let addresses = if announced.is_empty() { own_addresses() } else { announced.to_vec() };
    addresses.into_iter().take(MAX_CANDIDATES).map(|ip| SocketAddr::new(ip, port)).collect()
}

/// Addresses that guests on the local network can reach: neither loopback nor link-local.
pub fn lan_addresses() -> Vec<IpAddr> {
    own_addresses().into_iter().filter(|ip| !ip.is_loopback()).collect()
}

fn own_addresses() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.into_iter().map(|i| i.ip()).filter(is_usable).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses; only this machine can join");
            vec![IpAddr::from([127, 0, 0, 1])]
        }
    };
    found.sort_by_key(|ip| (!ip.is_loopback(), ip.is_ipv6()));
    found.dedup();
    found
}

/// Link-local IPv6 needs a scope that a candidate line cannot carry (RFC 8839 §5.1).
fn is_usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_unicast_link_local() && !v6.is_loopback(),
    }
}

/// More candidates only lengthen a client's checks.
const MAX_CANDIDATES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_addresses_replace_the_machines_own() {
        let ip = IpAddr::from([203, 0, 113, 5]);
        assert_eq!(candidates(&[ip], 10_000), [SocketAddr::new(ip, 10_000)]);
    }

    #[test]
    fn the_machines_own_addresses_begin_with_loopback() {
        let own = candidates(&[], 10_000);
        assert!(own[0].ip().is_loopback());
        assert!(own.len() <= MAX_CANDIDATES);
    }
}
