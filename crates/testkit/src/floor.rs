//! The least that forwarding can cost: AES-128-GCM and UDP segmentation offload, to as many sockets, at the same pace, and nothing else.
//!
//! At the same pace, because a processor that has slept finds its caches cold, whatever the program: of 23,000 packets a second each cost
//! 2.2 µs, of 51,000 1.7 and of 204,000 1.6, in one run. And with a key for each socket, because every receiver has its own.

use crate::connection::media_socket;
use crate::process::own_cpu_time;
use crate::srtp::TAG;
use crate::subscriber::Reader;
use anyhow::{Context, Result};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use nix::sys::socket::{setsockopt, sockopt};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// CPU seconds per million packets of [`PAYLOAD`] octets, `rate` a second, to `destinations` sockets like a subscriber's.
pub fn measure(destinations: usize, rate: f64, length: Duration) -> Result<f64> {
    let rate = rate.min(MAX_RATE);
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    setsockopt(&sender, sockopt::SndBuf, &(4 << 20))?;
    setsockopt(&sender, sockopt::UdpGsoSegment, &(PACKET as i32))?;
    let receivers: Vec<UdpSocket> =
        (0..destinations).map(|_| connected(sender.local_addr()?)).collect::<Result<_>>()?;
    let addresses: Vec<SocketAddr> = receivers.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut reader = Reader::default();
            let mut seen = 0;
            while !stop.load(Ordering::Relaxed) {
                seen += receivers.iter().map(|socket| reader.discard(socket)).sum::<u64>();
                thread::sleep(Duration::from_micros(1_500));
            }
            seen
        });
        let sent = send(&sender, &addresses, rate, length);
        stop.store(true, Ordering::Relaxed);
        let seen = reading.join().ok().context("the reader panicked")?;
        let (packets, cpu) = sent?;
        anyhow::ensure!(seen * 10 > packets * 9, "the floor's receivers saw {seen} of {packets} packets");
        Ok(cpu.as_secs_f64() * 1e6 / packets as f64)
    })
}

fn connected(sender: SocketAddr) -> Result<UdpSocket> {
    let socket = media_socket(sender.ip())?;
    socket.connect(sender)?;
    Ok(socket)
}

/// Rounds over all destinations, each with a key of its own.
fn send(
    socket: &UdpSocket,
    addresses: &[SocketAddr],
    rate: f64,
    length: Duration,
) -> Result<(u64, Duration)> {
    let key = |n: u8| Ok(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[n; 16])?));
    let keys = (0..).take(addresses.len()).map(key).collect::<Result<Vec<_>>>()?;
    let plain = [0x5A; PACKET];
    let mut buffer = [0; PACKET * SEGMENTS];
    let (start, cpu) = (Instant::now(), own_cpu_time()?);
    let mut packets: u64 = 0;
    while start.elapsed() < length {
        for (address, key) in addresses.iter().zip(&keys) {
            for packet in buffer.chunks_exact_mut(PACKET) {
                packet.copy_from_slice(&plain);
                let (body, tag) = packet.split_at_mut(PACKET - TAG);
                let (header, payload) = body.split_at_mut(HEADER);
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&packets.to_be_bytes());
                let nonce = Nonce::assume_unique_for_key(nonce);
                let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
                tag.copy_from_slice(sealed.ok().context("cannot encrypt")?.as_ref());
                packets += 1;
            }
            socket.send_to(&buffer, address)?;
        }
        let due = Duration::from_secs_f64(packets as f64 / rate);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok((packets, own_cpu_time()? - cpu))
}

/// RTP header with the extensions a consumer's packets carry.
const HEADER: usize = 12 + 16;
const PAYLOAD: usize = crate::camera::EQUAL;
const PACKET: usize = HEADER + PAYLOAD + TAG;
const SEGMENTS: usize = 8;
/// Packets a second; for twice as many the reader needs a core.
const MAX_RATE: f64 = 250_000.0;
