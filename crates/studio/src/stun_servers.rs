//! Keeps the forwarding threads told of the STUN servers that the streamer has configured, by address.

use crate::worker::WorkerPool;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::sleep;
use wire::ortc::IceServer;

/// Host and port of each `stun:` URL (RFC 7064); what needs TLS, or relays, is for guests alone.
pub fn hosts(servers: &[IceServer]) -> Vec<String> {
    let urls = servers.iter().flat_map(|server| &server.urls);
    urls.filter_map(|url| url.strip_prefix("stun:")).map(with_port).collect()
}

fn with_port(host: &str) -> String {
    let is_bare_v6 = host.ends_with(']');
    let has_port = !is_bare_v6 && host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:{STUN_PORT}") }
}

/// Looks the names up, tells every worker, and again after a while: addresses change, and a worker that began anew
/// knows none. Ends with the workers.
pub async fn keep_told(hosts: Vec<String>, workers: WorkerPool) {
    while !hosts.is_empty() {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for host in &hosts {
            match lookup_host(host).await {
                // One of each family: two addresses of one server see the same NAT.
                Ok(found) => {
                    let found: Vec<_> = found.collect();
                    addresses.extend(found.iter().find(|a| a.is_ipv4()));
                    addresses.extend(found.iter().find(|a| a.is_ipv6()));
                }
                Err(error) => tracing::debug!(%error, "a STUN server's name cannot be looked up"),
            }
        }
        for worker in workers.iter().filter(|_| !addresses.is_empty()) {
            let addresses = addresses.clone();
            // One that is busy or failed is told the next time.
            let _ = worker.call(move |sfu, now| sfu.set_stun_servers(now, &addresses)).await;
        }
        if workers.iter().all(|worker| worker.counters().has_ended()) {
            return;
        }
        sleep(AGAIN).await;
    }
}

/// RFC 8489 §18.5.
const STUN_PORT: u16 = 3478;
const AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stun_servers_are_those_that_udp_reaches_without_a_password() {
        let server = |url: &str| IceServer { urls: vec![url.into()], username: None, credential: None };
        let servers =
            ["stun:stun.example.com", "stun:192.0.2.1:99", "turn:t.example.com", "stuns:s.example.com"];
        assert_eq!(hosts(&servers.map(server)), ["stun.example.com:3478", "192.0.2.1:99"]);
        assert_eq!(hosts(&[server("stun:[2001:db8::1]")]), ["[2001:db8::1]:3478"]);
    }
}
