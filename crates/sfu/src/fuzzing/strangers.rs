//! Datagrams of anybody, in a worker with a call going on: of somebody unknown, of two guests in the clear or with ICE's
//! password, of a STUN server, of a closed TCP connection.

use super::call::{Call, opus};
use crate::path::Path;
use crate::stun::{self, Kind, Message};
use rtp::fuzzing::records;
use std::net::SocketAddr;
use std::time::Duration;
use wire::ortc::{Direction, IceParameters, MediaKind};

/// Each record is one datagram, its control octet says whose: two bits for the path, two for what is done to the octets
/// before they are sent, the rest for time and signaling. Whoever is unknown must stay unanswered.
pub fn datagrams(data: &[u8]) {
    let mut call = Call::new();
    let udp = |n: u8| SocketAddr::from(([198, 51, 100, n], 5_000));
    let paths = [Path::from(udp(1)), Path::from(udp(2)), Path::tcp(udp(1)), Path::from(udp(99))];
    let server = Path::from(udp(50));
    let (sender, _) = call.secured(Direction::Send, paths[0]);
    let (receiver, _) = call.secured(Direction::Recv, paths[1]);
    let producer = call.produce(sender.id, MediaKind::Audio, opus());
    let capabilities = call.worker.router_rtp_capabilities();
    call.worker.consume(call.now, receiver.id, producer, &capabilities, false).expect("a consumer");
    call.worker.set_stun_servers(call.now, &[server.address]);
    let told = credentials("them");
    call.worker.set_remote_ice(call.now, receiver.id, &told).expect("they are valid");
    let mut ours = [&sender, &receiver].map(|options| options.ice_parameters.clone());
    let mut asked = [[0; 12]; 2];
    for (control, body) in records(data) {
        let [who, what, then] = [control & 3, control >> 2 & 3, control >> 4].map(usize::from);
        let mut datagram = body.to_vec();
        match what {
            0 => {}
            1 => stun::seal(&mut datagram),
            // With the password that is right: our own, or, for an answer, the client's.
            2 if who < 3 => request(&mut datagram, &ours[who & 1]),
            2 => answer(&mut datagram, asked[0], None),
            _ => answer(&mut datagram, asked[1], Some(&told)),
        }
        let from = if who == 3 && what == 2 { server } else { paths[who] };
        call.handle(from, &mut datagram);
        match then {
            12 => call.worker.handle_disconnect(paths[2]),
            13 => {
                ours[who & 1] = call.worker.restart_ice([sender.id, receiver.id][who & 1]).expect("it lives")
            }
            14 => drop(call.worker.set_remote_ice(call.now, receiver.id, &told)),
            15 => call.worker.set_stun_servers(call.now, &[]),
            _ => {}
        }
        call.pass_and_see(Duration::from_millis([0, 5, 50, 500][then & 3]), |to, datagram| {
            assert!(to != paths[3], "somebody unknown was answered");
            if let Some(message) = Message::parse(datagram).filter(|m| m.kind == Kind::Request) {
                asked[usize::from(to != server)] = message.transaction;
            }
        });
    }
    call.pass(Duration::from_secs(40));
}

fn credentials(name: &str) -> IceParameters {
    IceParameters {
        username_fragment: name.into(),
        password: "oftheothersideandlong1".into(),
        ice_lite: None,
    }
}

/// A check whose name and integrity are right; its other attributes are the fuzzer's.
fn request(datagram: &mut Vec<u8>, to: &IceParameters) {
    let name = format!("{}:them", to.username_fragment);
    let mut message = vec![0, 1, 0, 0, 0, 0, 0, 0];
    message.extend([7; 12]);
    message.extend([0, 6, 0, name.len() as u8]);
    message.extend(name.bytes());
    message.resize(message.len().next_multiple_of(4), 0);
    message.append(datagram);
    message.truncate(1_200);
    stun::sign(&mut message, &stun::integrity_key(&to.password));
    stun::seal(&mut message);
    *datagram = message;
}

/// An answer to what was asked; the first octet makes it an error.
fn answer(datagram: &mut Vec<u8>, transaction: stun::TransactionId, from: Option<&IceParameters>) {
    let is_error = datagram.first().is_some_and(|first| first & 1 == 1);
    let mut message = vec![1, if is_error { 0x11 } else { 1 }, 0, 0, 0, 0, 0, 0];
    message.extend(transaction);
    message.extend(datagram.iter().skip(1));
    message.truncate(1_200);
    if let Some(from) = from {
        stun::sign(&mut message, &stun::integrity_key(&from.password));
    }
    stun::seal(&mut message);
    *datagram = message;
}
