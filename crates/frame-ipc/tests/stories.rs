//! A host and its readers, both behaving.

use greenroom_frame_ipc::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::path::PathBuf;
use std::time::Duration;

/// A directory of one's own, gone afterwards.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("greenroom-ipc-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("obs.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The next event, waiting for the other thread as long as it takes within reason.
fn next(reader: &mut Reader) -> Event {
    loop {
        if let Some(event) = reader.next(now_ns()).expect("the host is there") {
            return event;
        }
        assert!(wait(reader), "the host said nothing for 5 s");
    }
}

fn next_end(reader: &mut Reader) -> Disconnect {
    loop {
        match reader.next(now_ns()) {
            Err(end) => return end,
            Ok(Some(_)) => {}
            Ok(None) => assert!(wait(reader), "the connection did not end"),
        }
    }
}

fn wait(reader: &Reader) -> bool {
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&patience)).unwrap() > 0
}

/// Connected, and past the ring and the first state.
fn settled(place: &Place, slot: u8) -> Reader {
    let mut reader = Reader::connect(&place.socket(), Subject::slot(slot)).unwrap();
    assert_eq!(next(&mut reader), Event::RingReplaced);
    assert!(matches!(next(&mut reader), Event::State(_)));
    reader
}

/// Waits until the host has seen what its readers said.
fn until(host: &Host, condition: impl Fn(&[SlotReaders]) -> bool) {
    for _ in 0..5000 {
        if condition(&host.readers()) {
            return;
        }
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the host never came to know: {:?}", host.readers());
}

fn shown(host: &Host, slot: u8) {
    until(host, |all| all[usize::from(slot) - 1].shown > 0);
}

fn ada(epoch: u32) -> SlotState {
    SlotState {
        occupant: Some("Ada".into()),
        video_live: true,
        audio_live: true,
        epoch,
        ..SlotState::default()
    }
}

/// A picture whose every byte says which one it is.
fn write(writer: &mut SlotWriter, width: u32, height: u32, value: u8, timestamp_ns: u64) {
    let stride = width as usize + 5;
    let chroma = width.div_ceil(2) as usize;
    let luma = vec![value; stride * height as usize];
    let half = vec![value; chroma * height.div_ceil(2) as usize];
    let planes = [
        Plane { data: &luma, stride },
        Plane { data: &half, stride: chroma },
        Plane { data: &half, stride: chroma },
    ];
    writer
        .write_video(&VideoFrame {
            format: PixelFormat::I420,
            width,
            height,
            planes: &planes,
            timestamp_ns,
            arrival_ns: timestamp_ns,
            full_range: false,
            matrix: Matrix::Bt709,
            rotation: Rotation::Quarter,
        })
        .unwrap();
}

#[test]
fn a_picture_and_a_sound_arrive_as_they_were_written() {
    let place = Place::new("arrive");
    let host = Host::bind(&place.socket(), 2).unwrap();
    let mut writer = host.slot(2).unwrap();
    let mut reader = settled(&place, 2);
    reader.set_look(Look::PROGRAM);
    shown(&host, 2);
    assert!(writer.is_shown() && !host.is_shown(1));

    let now = now_ns();
    write(&mut writer, 641, 361, 77, now);
    let Event::Video(info) = next(&mut reader) else { panic!() };
    assert_eq!(
        (info.width, info.height, info.rotation, info.timestamp_ns),
        (641, 361, Rotation::Quarter, now)
    );
    let mut picture = VideoBuffer::default();
    assert_eq!(reader.copy_video(&info, &mut picture), Copied::Whole);
    for (index, width, height) in [(0, 641, 361), (1, 321, 181), (2, 321, 181)] {
        let (bytes, stride) = picture.plane(index);
        assert_eq!(bytes.len(), stride as usize * height);
        assert!(bytes.chunks(stride as usize).all(|row| row[..width].iter().all(|byte| *byte == 77)));
    }

    let (left, right) = (vec![0.25; 481], vec![-0.5; 481]);
    writer.write_audio(&[&left, &right], 481, 48_000, now).unwrap();
    let Event::Audio(info) = next(&mut reader) else { panic!() };
    assert_eq!((info.frames, info.channels, info.sample_rate), (481, 2, 48_000));
    let mut sound = AudioBuffer::default();
    assert_eq!(reader.copy_audio(&info, &mut sound), Copied::Whole);
    assert_eq!((sound.channel(0), sound.channel(1)), (&left[..], &right[..]));
    assert!(sound.channel(2).is_empty());
}

#[test]
fn the_list_names_who_is_where() {
    let place = Place::new("list");
    let host = Host::bind(&place.socket(), 3).unwrap();
    host.slot(2).unwrap().set_state(ada(1));
    let slots = list_slots(&place.socket(), Duration::from_secs(5)).unwrap();
    let labels: Vec<_> = slots.iter().map(SlotInfo::label).collect();
    assert_eq!(labels, ["Guest 1", "Guest 2 — Ada", "Guest 3"]);
}

#[test]
fn a_hidden_source_hears_but_is_shown_nothing() {
    let place = Place::new("hidden");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    write(&mut writer, 64, 64, 1, now_ns());
    writer.write_audio(&[&[0.0; 480]], 480, 48_000, now_ns()).unwrap();
    assert!(matches!(next(&mut reader), Event::Audio(_)));
}

#[test]
fn a_source_shown_late_gets_the_last_picture_at_once() {
    let place = Place::new("late");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    writer.set_state(ada(1));
    // A shared screen at rest: this was all it ever sent.
    write(&mut writer, 64, 64, 9, now_ns().saturating_sub(60_000_000_000));
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    let Event::Video(info) = next(&mut reader) else { panic!() };
    assert!(info.still);
    let mut picture = VideoBuffer::default();
    assert_eq!(reader.copy_video(&info, &mut picture), Copied::Whole);
    assert_eq!(picture.plane(0).0[0], 9);
}

#[test]
fn nobody_sees_the_guest_before() {
    let place = Place::new("epoch");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    writer.set_state(ada(1));
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    shown(&host, 1);
    // Ada's last picture is announced, then she leaves; whoever comes to read it first sees her go.
    write(&mut writer, 64, 64, 1, now_ns());
    writer.set_state(SlotState { epoch: 2, ..SlotState::default() });
    writer.write_audio(&[&[0.0; 480]], 480, 48_000, now_ns()).unwrap();
    let Event::Video(info) = next(&mut reader) else { panic!() };
    assert!(matches!(next(&mut reader), Event::State(SlotState { occupant: None, .. })));
    assert!(matches!(next(&mut reader), Event::Audio(_)));
    // One who comes now is not told of it at all.
    let mut late = settled(&place, 1);
    late.set_look(Look::PROGRAM);
    until(&host, |all| all[0].shown == 2);
    writer.write_audio(&[&[0.0; 480]], 480, 48_000, now_ns()).unwrap();
    assert!(matches!(next(&mut late), Event::Audio(_)));
    assert_eq!(info.width, 64);
}

#[test]
fn a_larger_picture_brings_a_larger_ring() {
    let place = Place::new("grow");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    shown(&host, 1);
    for (width, height) in [(1920, 1080), (4096, 2304), (2304, 4096), (320, 180)] {
        write(&mut writer, width, height, 3, now_ns());
        let mut event = next(&mut reader);
        if event == Event::RingReplaced {
            assert_eq!(width, 4096);
            event = next(&mut reader);
        }
        let Event::Video(info) = event else { panic!() };
        assert_eq!((info.width, info.height), (width, height));
        assert_eq!(reader.copy_video(&info, &mut VideoBuffer::default()), Copied::Whole);
    }
    let too_large = [Plane { data: &[], stride: 5000 }; 3];
    let frame = VideoFrame {
        format: PixelFormat::I420,
        width: 4098,
        height: 2304,
        planes: &too_large,
        timestamp_ns: 0,
        arrival_ns: 0,
        full_range: false,
        matrix: Matrix::Bt601,
        rotation: Rotation::None,
    };
    assert!(matches!(writer.write_video(&frame), Err(WriteError::Size { .. })));
    assert!(matches!(writer.write_video(&VideoFrame { width: 640, ..frame }), Err(WriteError::ShortPlane)));
    assert!(writer.write_audio(&[], 480, 48_000, 0).is_err());
    assert!(writer.write_audio(&[&[0.0; 100]], 480, 48_000, 0).is_err());
}

#[test]
fn a_reader_that_never_reads_delays_nobody_and_finds_the_state_when_it_wakes() {
    let place = Place::new("asleep");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut asleep = Reader::connect(&place.socket(), Subject::slot(1)).unwrap();
    asleep.set_look(Look::PROGRAM);
    let mut awake = settled(&place, 1);
    awake.set_look(Look::PROGRAM);
    until(&host, |all| all[0].shown == 2);
    for i in 0..2000_u32 {
        write(&mut writer, 16, 16, i as u8, now_ns());
        assert!(matches!(next(&mut awake), Event::Video(_)));
    }
    writer.set_state(ada(5));
    write(&mut writer, 16, 16, 0, now_ns());
    assert_eq!(next(&mut awake), Event::State(ada(5)));

    // It wakes, and nothing is written any more: the state comes all the same.
    loop {
        if let Event::State(state) = next(&mut asleep)
            && state.epoch == 5
        {
            break;
        }
    }
}

#[test]
fn an_overwritten_picture_is_never_handed_on() {
    let place = Place::new("torn");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    shown(&host, 1);
    write(&mut writer, 64, 64, 0, now_ns());
    let Event::Video(first) = next(&mut reader) else { panic!() };
    for value in 1..=6 {
        write(&mut writer, 64, 64, value, now_ns());
    }
    assert_eq!(reader.copy_video(&first, &mut VideoBuffer::default()), Copied::Torn);
    let Event::Video(second) = next(&mut reader) else { panic!() };
    let mut picture = VideoBuffer::default();
    assert_eq!(reader.copy_video(&second, &mut picture), Copied::Whole);
    assert_eq!(picture.plane(0).0[0], 1);
}

#[test]
fn a_picture_is_lent_unless_the_writer_is_near() {
    let place = Place::new("lent");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    shown(&host, 1);
    for (after, expected) in [(0, Some(true)), (3, Some(true)), (4, Some(false)), (5, Some(false)), (6, None)]
    {
        write(&mut writer, 96, 64, 200 + after, now_ns());
        let Event::Video(info) = next(&mut reader) else { panic!() };
        for value in 0..after {
            write(&mut writer, 96, 64, value, now_ns());
        }
        let mut lent = None;
        let copied = reader.lend_video(&info, &mut VideoBuffer::default(), |planes| {
            lent = Some(planes.iter().all(|(pixels, _)| matches!(pixels, Pixels::Lent(_))));
            for (index, width) in [(0, 96), (1, 48), (2, 48)] {
                let (pixels, stride) = &planes[index];
                let bytes = pixels.to_vec();
                let mut rows = bytes.chunks(*stride as usize);
                assert!(rows.all(|row| row[..width].iter().all(|byte| *byte == 200 + after)));
            }
        });
        assert_eq!((lent, copied == Copied::Whole), (expected, expected.is_some()), "{after} later");
        while reader.next(now_ns()).unwrap().is_some() {}
    }
}

/// As [`write`], the picture being made in the ring's own memory.
fn write_in_place(writer: &mut SlotWriter, value: u8) -> Written {
    let mut piece = writer.lender().lend(96 * 64 * 2).unwrap();
    piece.fill(value);
    let (luma, rest) = piece.split_at(128 * 80);
    let (first, second) = rest.split_at(64 * 40);
    let planes = [
        Plane { data: &luma[..128 * 64], stride: 128 },
        Plane { data: &first[..64 * 32], stride: 64 },
        Plane { data: &second[..64 * 32], stride: 64 },
    ];
    let frame = VideoFrame {
        format: PixelFormat::I420,
        width: 96,
        height: 64,
        planes: &planes,
        timestamp_ns: now_ns(),
        arrival_ns: now_ns(),
        full_range: false,
        matrix: Matrix::Bt709,
        rotation: Rotation::None,
    };
    writer.write_video(&frame).unwrap()
}

#[test]
fn a_picture_made_in_the_rings_memory_is_read_there_until_it_is_made_anew() {
    let place = Place::new("in-place");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    shown(&host, 1);
    let mut picture = VideoBuffer::default();
    let is_whole = |info: &VideoInfo, reader: &mut Reader, picture: &mut VideoBuffer, value: u8| {
        let copied = reader.copy_video(info, picture);
        let is_right = (0..3).all(|plane| {
            let (bytes, stride) = picture.plane(plane);
            bytes.chunks(stride as usize).all(|row| row[..48].iter().all(|byte| *byte == value))
        });
        assert!(copied == Copied::Torn || is_right, "picture {value}");
        copied == Copied::Whole
    };
    let mut infos = Vec::new();
    for value in 0..100 {
        // Now and then one comes from elsewhere, and is copied.
        if value % 7 == 3 {
            write(&mut writer, 96, 64, value, now_ns());
        } else {
            assert_eq!(write_in_place(&mut writer, value), Written::InPlace);
        }
        let Event::Video(info) = next(&mut reader) else { panic!() };
        let mut is_lent = false;
        let copied = reader.lend_video(&info, &mut picture, |planes| {
            is_lent = planes.iter().all(|(pixels, _)| matches!(pixels, Pixels::Lent(_)));
        });
        assert!(is_lent && copied == Copied::Whole);
        infos.push((info, value));
        let whole = infos.iter().filter(|(info, v)| is_whole(info, &mut reader, &mut picture, *v)).count();
        assert_eq!(whole, infos.len().min(6));
    }
    // What does not fit makes a new ring, with memory of its own.
    let old = writer.lender();
    write(&mut writer, 4096, 2304, 1, now_ns());
    assert_eq!(write_in_place(&mut writer, 7), Written::InPlace);
    let (mut before, value) = (old.lend(1).unwrap(), infos[99].1);
    before.fill(77);
    assert!(is_whole(&infos[99].0, &mut reader, &mut picture, value), "what was announced there stays");
}

#[test]
fn what_is_overwritten_while_it_is_lent_is_told() {
    let place = Place::new("lent-torn");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    shown(&host, 1);
    write(&mut writer, 64, 64, 7, now_ns());
    let Event::Video(info) = next(&mut reader) else { panic!() };
    let copied = reader.lend_video(&info, &mut VideoBuffer::default(), |_| {
        for value in 0..6 {
            write(&mut writer, 64, 64, value, now_ns());
        }
    });
    assert_eq!(copied, Copied::Torn);
}

#[test]
fn pictures_stay_whole_while_another_thread_writes_as_fast_as_it_can() {
    let place = Place::new("race");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    shown(&host, 1);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        for value in 0.. {
            if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                return;
            }
            write(&mut writer, 640, 360, value as u8, now_ns());
        }
    });
    let mut picture = VideoBuffer::default();
    let mut whole = 0;
    while whole < 200 {
        let Event::Video(info) = next(&mut reader) else { continue };
        if reader.copy_video(&info, &mut picture) == Copied::Whole {
            whole += 1;
            let value = picture.plane(0).0[0];
            for (index, width) in [(0, 640), (1, 320), (2, 320)] {
                let (bytes, stride) = picture.plane(index);
                assert!(
                    bytes.chunks(stride as usize).all(|row| row[..width].iter().all(|byte| *byte == value))
                );
            }
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    thread.join().unwrap();
}

#[test]
fn timestamps_that_are_far_off_go_no_further() {
    let place = Place::new("time");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    shown(&host, 1);
    let now = 100_000_000_000;
    let (ahead, behind) = (500_000_000, 1_500_000_000);
    for timestamp in [0, now - behind - 1, now + ahead + 1, u64::MAX, now - behind, now + ahead] {
        write(&mut writer, 16, 16, 0, timestamp);
        writer.write_audio(&[&[0.0; 480]], 480, 48_000, timestamp).unwrap();
    }
    let mut times = Vec::new();
    while times.len() < 4 {
        match reader.next(now).unwrap() {
            Some(Event::Video(info)) => times.push(info.timestamp_ns),
            Some(Event::Audio(info)) => times.push(info.timestamp_ns),
            Some(_) => {}
            None => assert!(wait(&reader)),
        }
    }
    assert_eq!(times, [now - behind, now - behind, now + ahead, now + ahead]);
}

#[test]
fn noise_that_is_no_sound_becomes_silence() {
    let place = Place::new("nan");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    writer.write_audio(&[&[f32::NAN, f32::INFINITY, 1e30, 0.5]], 4, 48_000, now_ns()).unwrap();
    let Event::Audio(info) = next(&mut reader) else { panic!() };
    let mut sound = AudioBuffer::default();
    assert_eq!(reader.copy_audio(&info, &mut sound), Copied::Whole);
    assert_eq!(sound.channel(0), [0.0, 0.0, 8.0, 0.5]);
}

#[test]
fn a_dead_hosts_socket_is_replaced_and_a_living_ones_is_not() {
    let place = Place::new("stale");
    let first = Host::bind(&place.socket(), 1).unwrap();
    let second = Host::bind(&place.socket(), 1);
    assert_eq!(second.err().map(|error| error.kind()), Some(std::io::ErrorKind::AddrInUse));
    let mut reader = settled(&place, 1);
    drop(first);
    assert!(matches!(next_end(&mut reader), Disconnect::Closed));
    assert!(!place.socket().exists());

    // What kill -9 leaves: a socket file nobody listens at.
    drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
    assert!(place.socket().exists());
    let host = Host::bind(&place.socket(), 1).unwrap();
    settled(&place, 1);
    drop(host);

    // Not ours to delete.
    std::fs::write(place.socket(), "a letter").unwrap();
    assert!(Host::bind(&place.socket(), 1).is_err());
    assert_eq!(std::fs::read(place.socket()).unwrap(), b"a letter");
}

#[test]
fn the_socket_is_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("mode");
    let path = place.0.join("new/obs.sock");
    let _host = Host::bind(&path, 1).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));

    let open = place.0.join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let refused = Host::bind(&open.join("obs.sock"), 1).err().map(|error| error.kind());
    assert_eq!(refused, Some(std::io::ErrorKind::PermissionDenied));
}

#[test]
fn what_readers_report_is_known_to_the_host() {
    let place = Place::new("report");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = settled(&place, 1);
    reader.set_look(Look::PROGRAM);
    shown(&host, 1);
    write(&mut writer, 16, 16, 0, now_ns());
    let Event::Video(info) = next(&mut reader) else { panic!() };
    reader.handed_over(&info, info.written_ns + 40_000, info.arrival_ns + 3_000_000);
    reader.skipped();
    reader.send_report();
    until(&host, |all| all[0].reports[0].delivered == 1);
    let report = host.readers()[0].reports[0];
    assert_eq!((report.skipped, report.handover_p50_us, report.arrival_p99_us), (1, 40, 3000));
    drop(reader);
    until(&host, |all| all[0] == SlotReaders { slot: 1, ..SlotReaders::default() });
}

fn speaker(hold_ms: u16) -> Subject {
    Subject { who: Who::Speaker { sensitivity: Sensitivity::Normal, hold_ms }, stand_in: None }
}

#[test]
fn readers_of_one_subject_share_a_slot_that_is_theirs_while_they_are_there() {
    let place = Place::new("follow");
    let host = Host::bind(&place.socket(), 2).unwrap();
    let connect = |subject: &Subject| Reader::connect(&place.socket(), subject.clone()).unwrap();
    let settle = |reader: &mut Reader| {
        assert_eq!(next(reader), Event::RingReplaced);
        assert_eq!(next(reader), Event::State(SlotState::default()));
    };
    let (mut one, mut other, mut screen) = (
        connect(&speaker(100)),
        connect(&speaker(100)),
        connect(&Subject { who: Who::Screen, stand_in: Some(1) }),
    );
    [&mut one, &mut other, &mut screen].into_iter().for_each(settle);
    let followed = host.followed();
    assert_eq!(followed.len(), 2);
    assert!(followed.iter().all(|place| place.slot > 2));
    let of_speaker = followed.iter().find(|place| place.subject == speaker(100)).unwrap().slot;
    assert_eq!(list_slots(&place.socket(), Duration::from_secs(5)).unwrap().len(), 2, "people know of two");

    let mut writer = host.slot(of_speaker).unwrap();
    writer.set_state(ada(1));
    for reader in [&mut one, &mut other] {
        reader.set_look(Look { scene: Scene::Preview, height: 360 });
        assert_eq!(next(reader), Event::State(ada(1)));
    }
    other.set_look(Look { scene: Scene::Program, height: 180 });
    let best = Look { scene: Scene::Program, height: 360 };
    until(&host, |all| all[usize::from(of_speaker) - 1].look == best);
    write(&mut writer, 8, 8, 3, now_ns());
    assert!(matches!(next(&mut one), Event::Video(_)));
    assert!(matches!(next(&mut other), Event::Video(_)));

    // A slot that still has somebody in it is not given to others, and then the longest free one comes first.
    drop((one, other, screen));
    until(&host, |_| host.followed().is_empty());
    let mut again = connect(&speaker(200));
    settle(&mut again);
    assert_ne!(host.followed()[0].slot, of_speaker);
}

#[test]
fn more_subjects_than_there_is_room_for_are_refused() {
    let place = Place::new("many");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let connect = |hold_ms: u16| Reader::connect(&place.socket(), speaker(hold_ms)).unwrap();
    let mut inside: Vec<_> = (0..u16::from(FOLLOWED)).map(connect).collect();
    for reader in &mut inside {
        assert_eq!(next(reader), Event::RingReplaced);
    }
    assert!(matches!(next_end(&mut connect(999)), Disconnect::Full));
    drop(inside);
    until(&host, |_| host.followed().is_empty());
    assert_eq!(next(&mut connect(999)), Event::RingReplaced);
}
