//! Forwarding threads with real sockets and pipes.

use super::*;
use outputs::record::encode_rtp_record;
use std::io::Read;
use std::net::IpAddr;
use wire::link::MAX_RECORD;

fn pool(count: usize) -> (WorkerPool, mpsc::Receiver<WorkerEvent>) {
    let announced = vec![IpAddr::from([127, 0, 0, 1])];
    let config = WorkerConfig { ports: vec![0], announced, max_incoming_bitrate: 1_000_000, gather: true };
    WorkerPool::start(&config, count).unwrap()
}

#[tokio::test]
async fn an_id_tells_whose_it_is_and_each_worker_has_its_own_port() {
    let (pool, _events) = pool(3);
    let mut ports = Vec::new();
    for (index, worker) in pool.iter().enumerate() {
        let router = worker.call(|sfu, _| sfu.create_router()).await.unwrap();
        assert_eq!(pool.home_index(router.0), index);
        let port = worker.media_address().port();
        assert!(!ports.contains(&port));
        ports.push(port);
    }
    let strange = uuid::Uuid::from_u128(0xff);
    assert!(!pool.home(strange).call(move |sfu, _| sfu.has_router(wire::RouterId(strange))).await.unwrap());
}

#[tokio::test]
async fn a_panic_costs_one_request_and_what_the_worker_held() {
    let (pool, mut events) = pool(2);
    let [broken, sound] = [pool.at(0), pool.at(1)];
    let mut routers = Vec::new();
    for worker in [broken, sound] {
        routers.push(worker.call(|sfu, _| sfu.create_router()).await.unwrap());
    }
    for life in 1..=3 {
        assert_eq!(
            broken.call(|_, _| panic!("a fault of this test's")).await,
            Err::<(), _>(WorkerGone::Failed)
        );
        assert!(matches!(events.recv().await, Some(WorkerEvent::Restarted(0))));
        assert_eq!(broken.counters().restarts.load(Ordering::Relaxed), life);
        let old = routers[0];
        assert!(!broken.call(move |sfu, _| sfu.has_router(old)).await.unwrap());
        routers[0] = broken.call(|sfu, _| sfu.create_router()).await.unwrap();
        assert_eq!(pool.home_index(routers[0].0), 0);
    }
    let other = routers[1];
    assert!(sound.call(move |sfu, _| sfu.has_router(other)).await.unwrap());
    assert!(!broken.counters().has_ended());
    broken.stop();
    while broken.call(|_, _| ()).await.is_ok() {}
    assert_eq!(sound.call(|_, _| 7).await, Ok(7));
}

#[test]
fn records_of_several_threads_never_mix() {
    const THREADS: u32 = 3;
    const EACH: u32 = 2_000;
    // As `outputs` makes it: the writing end refuses, the reading end waits.
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let counters: Vec<_> = (0..THREADS).map(|_| Arc::new(WorkerCounters::default())).collect();
    let writers: Vec<_> = (0..THREADS)
        .zip(&counters)
        .map(|(thread, counters)| {
            let (end, counters) = (writer.try_clone().unwrap(), counters.clone());
            thread::spawn(move || {
                let mut pipe = MediaPipe::new(counters);
                pipe.attach(end);
                for n in 0..EACH {
                    let packet = [thread as u8; 1_200];
                    sfu::TapSink::rtp(
                        &mut pipe,
                        thread,
                        Instant::now(),
                        &packet[..(n as usize * 131) % 1_200],
                    );
                    // Rounds of one to five packets.
                    if n % 7 % 5 == 0 {
                        pipe.flush();
                    }
                }
                pipe.flush();
            })
        })
        .collect();
    drop(writer);
    let mut bytes = Vec::new();
    std::fs::File::from(reader).read_to_end(&mut bytes).unwrap();
    writers.into_iter().for_each(|writer| writer.join().unwrap());

    let mut rest = bytes.as_slice();
    let mut seen = 0;
    while let Some((head, _)) = rest.split_first_chunk::<8>() {
        let length = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let (record, tail) = rest.split_at(length);
        let feed = head[4];
        assert!(record[16..].iter().all(|octet| *octet == feed), "record {seen} is one thread's alone");
        (rest, seen) = (tail, seen + 1);
    }
    assert!(rest.is_empty());
    let dropped: u64 = counters.iter().map(|c| c.records_dropped.load(Ordering::Relaxed)).sum();
    assert_eq!(seen + dropped, u64::from(THREADS * EACH));
    assert!(
        encode_rtp_record(&mut [0; MAX_RECORD], 0, 0, &[0; MAX_RECORD]).is_none(),
        "none is longer than PIPE_BUF"
    );
}
