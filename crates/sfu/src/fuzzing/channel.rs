//! An SCTP association that a client of the fuzzer's has opened, and what it says on it.

use crate::sctp::screen::{Screen, Verdict};
use crate::sctp::{Association, Event, Sctp, dcep, seal};
use bytes::Bytes;
use rtp::fuzzing::records;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Each record is one packet's chunks; ports, tag and checksum are put before them, as an eavesdropper on its own
/// connection knows them.
#[allow(clippy::disallowed_methods)]
pub fn association(data: &[u8]) {
    black_box(dcep::Dcep::parse(data));
    // Any instant will do; it never moves but by hand.
    let mut now = Instant::now();
    let (mut screen, mut sctp) = (Screen::default(), Sctp::accept());
    let mut tag = 0;
    // INIT with window, streams and a first TSN of 1; then its cookie comes back (RFC 9260 §5.1).
    let init = [&[1, 0, 0, 20, 0, 0, 0, 9, 0, 1, 0, 0, 1, 0, 1, 0][..], &[0, 0, 0, 1]].concat();
    for answer in exchange(now, &mut screen, &mut sctp, tag, &init) {
        let Some(chunk) = answer.get(12..).filter(|chunk| chunk.first() == Some(&2)) else { continue };
        tag = chunk.get(4..8).and_then(|t| t.try_into().ok()).map_or(0, u32::from_be_bytes);
        if let Some(cookie) = cookie(chunk) {
            exchange(now, &mut screen, &mut sctp, tag, &cookie);
        }
    }
    for (control, chunks) in records(data) {
        if control & 0xC0 == 0xC0 {
            now += Duration::from_millis(u64::from(control & 0x3F) * 50);
            sctp.handle_timeout(now);
            (0..4).for_each(|stream| sctp.release(stream));
            screen.set_held(false);
        }
        exchange(now, &mut screen, &mut sctp, tag, chunks);
        while let Some(event) = sctp.poll_event() {
            match event {
                Event::Connected => screen.on_connected(),
                Event::Message { stream, message } => {
                    black_box(dcep::Dcep::parse(&message.payload));
                    screen.note_read(message.payload.len());
                    if control & 0x20 != 0 {
                        sctp.hold(stream);
                        screen.set_held(true);
                    }
                }
                Event::PeerReset { stream } => sctp.reset(stream),
                Event::Lost { .. } => return,
                Event::Reusable { .. } => {}
            }
        }
    }
}

fn exchange(now: Instant, screen: &mut Screen, sctp: &mut Sctp, tag: u32, chunks: &[u8]) -> Vec<Bytes> {
    let mut packet = [5000u16.to_be_bytes(), 5000u16.to_be_bytes()].concat();
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend_from_slice(chunks);
    seal(&mut packet);
    if screen.inspect(now, &packet) == Verdict::Pass {
        sctp.handle_datagram(now, packet.into());
    }
    let answers: Vec<Bytes> = std::iter::from_fn(|| sctp.poll_transmit(now)).collect();
    answers.iter().for_each(|answer| screen.note_sent(answer));
    answers
}

/// The COOKIE ECHO for an INIT ACK: of its parameters, the state cookie (RFC 9260 §3.3.3).
fn cookie(init_ack: &[u8]) -> Option<Vec<u8>> {
    let mut parameters = init_ack.get(20..)?;
    loop {
        let length = usize::from(u16::from_be_bytes([*parameters.get(2)?, *parameters.get(3)?]));
        if parameters[..2] == [0, 7] {
            let value = parameters.get(4..length)?;
            return Some([&[10, 0][..], &(length as u16).to_be_bytes(), value].concat());
        }
        parameters = parameters.get(length.max(4).next_multiple_of(4)..)?;
    }
}
