//! The smallest caller of the media plane: one UDP socket, commands as JSON lines on stdin, answers on stdout.
//!
//! For trying clients by hand or by script: `{"id":1,"method":"createTransport","direction":"send"}` and so on.
#![allow(clippy::disallowed_methods)]

use greenroom_sfu::{Config, TapSink, Worker};
use serde_json::{Value, json};
use std::io::BufRead;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wire::{ConsumerId, ProducerId, RouterId, TransportId};

#[derive(Default)]
struct Count {
    packets: u64,
    reports: u64,
}

impl TapSink for Count {
    fn rtp(&mut self, _tag: u32, _arrival: Instant, _packet: &[u8]) {
        self.packets += 1;
    }
    fn sender_report(&mut self, _tag: u32, _arrival: Instant, _ntp: u64, _rtp_timestamp: u32) {
        self.reports += 1;
    }
    fn round_trip(&mut self, _tag: u32, _now: Instant, _ms: u32) {}
}

fn main() {
    let announced: SocketAddr =
        std::env::args().nth(1).expect("an address to offer").parse().expect("an address");
    let drop_percent: u32 = std::env::args().nth(2).and_then(|p| p.parse().ok()).unwrap_or(0);
    let socket = UdpSocket::bind(("0.0.0.0", announced.port())).expect("the port is free");
    let config = Config {
        announced: vec![announced],
        announced_tcp: Vec::new(),
        max_incoming_bitrate: 3_000_000,
        seed: rand::random(),
    };
    let mut worker = Worker::new(config, Instant::now()).expect("a worker");
    let router = worker.create_router();
    let (lines, inbox) = mpsc::sync_channel::<String>(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
        std::process::exit(0);
    });
    let mut taps = Count::default();
    let mut buffer = vec![0; 65_536];
    let mut dice = 1u32;
    let mut roll = move || {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (dice >> 16) % 100
    };
    loop {
        let now = Instant::now();
        let wait =
            worker.poll_timeout().map_or(Duration::from_millis(5), |at| at.saturating_duration_since(now));
        socket
            .set_read_timeout(Some(wait.clamp(Duration::from_millis(1), Duration::from_millis(5))))
            .expect("a timeout");
        if let Ok((len, from)) = socket.recv_from(&mut buffer)
            && (roll() >= drop_percent || buffer[0] < 4)
        {
            worker.handle_datagram(Instant::now(), from, &mut buffer[..len], &mut taps);
        }
        while let Ok(line) = inbox.try_recv() {
            let request: Value = serde_json::from_str(&line).expect("JSON");
            let answer = run(&mut worker, router, &request, &taps)
                .map_or_else(|error| json!({ "error": error }), |result| json!({ "result": result }));
            println!("{}", json!({ "id": request["id"], "answer": answer }));
        }
        let now = Instant::now();
        worker.handle_timeout(now);
        worker.flush(now, &mut |t| {
            for datagram in t.contents.chunks(t.segment_size) {
                if roll() >= drop_percent || datagram[0] < 4 {
                    let _ = socket.send_to(datagram, t.destination);
                }
            }
        });
        while let Some(event) = worker.poll_event() {
            println!("{}", json!({ "event": format!("{event:?}") }));
        }
    }
}

fn run(worker: &mut Worker, router: RouterId, request: &Value, taps: &Count) -> Result<Value, String> {
    fn field<T: serde::de::DeserializeOwned>(request: &Value, name: &str) -> Result<T, String> {
        serde_json::from_value(request[name].clone()).map_err(|e| format!("{name}: {e}"))
    }
    fn done<T: serde::Serialize>(result: Result<T, greenroom_sfu::Error>) -> Result<Value, String> {
        result.map(|r| serde_json::to_value(r).expect("JSON")).map_err(|e| e.to_string())
    }
    let now = Instant::now();
    match request["method"].as_str().unwrap_or_default() {
        "capabilities" => done(Ok(worker.router_rtp_capabilities())),
        "createTransport" => done(worker.create_transport(now, router, field(request, "direction")?)),
        "connect" => done(worker.connect_transport(
            now,
            field(request, "transportId")?,
            field(request, "dtlsParameters")?,
        )),
        "restartIce" => done(worker.restart_ice(field(request, "transportId")?)),
        "produce" => {
            let transport: TransportId = field(request, "transportId")?;
            let parameters = field(request, "rtpParameters")?;
            done(worker.produce(now, transport, field(request, "kind")?, parameters, false))
        }
        "consume" => {
            let transport: TransportId = field(request, "transportId")?;
            let capabilities = field(request, "rtpCapabilities")?;
            done(worker.consume(now, transport, field(request, "producerId")?, &capabilities, true))
        }
        "resume" => done(worker.resume_consumer(now, field(request, "consumerId")?)),
        "pause" => done(worker.pause_consumer(now, field(request, "consumerId")?)),
        "pauseProducer" => done(worker.pause_producer(now, field(request, "producerId")?)),
        "resumeProducer" => done(worker.resume_producer(now, field(request, "producerId")?)),
        "preferredLayers" => {
            done(worker.set_preferred_layers(field(request, "consumerId")?, field(request, "spatial")?, None))
        }
        "tap" => done(worker.tap(now, field(request, "producerId")?, 1)),
        "stats" => {
            let transports: Vec<TransportId> = field(request, "transports")?;
            let producers: Vec<ProducerId> = field(request, "producers")?;
            let consumers: Vec<ConsumerId> = field(request, "consumers")?;
            Ok(json!({
                "quality": worker.quality(now, &transports),
                "transports": transports.iter().map(|t| worker.transport_stats(now, *t)).collect::<Vec<_>>(),
                "producers": producers.iter().map(|p| worker.producer_stats(now, *p)).collect::<Vec<_>>(),
                "consumers": consumers.iter().map(|c| worker.consumer_stats(now, *c)).collect::<Vec<_>>(),
                "tapped": [taps.packets, taps.reports],
            }))
        }
        other => Err(format!("no such method: {other}")),
    }
}
