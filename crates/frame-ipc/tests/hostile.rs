//! One end honest, the other not: whatever it does, the worst that happens is the end of the connection.

use greenroom_frame_ipc::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::*;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("greenroom-hostile-{}-{name}", std::process::id()));
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

/// Small, repeatable, good enough to be unpleasant.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.roll() as u8).collect()
    }
}

fn seqpacket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn tell(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok()
}

// ---- A hostile host ----

/// Something that listens where a host should, and the honest reader that came to it.
fn trap(place: &Place) -> (OwnedFd, Reader) {
    trap_for(place, Subject::slot(1))
}

fn trap_for(place: &Place, subject: Subject) -> (OwnedFd, Reader) {
    let _ = std::fs::remove_file(place.socket());
    let listener = seqpacket();
    bind(&listener, &SocketAddrUnix::new(place.socket()).unwrap()).unwrap();
    listen(&listener, 4).unwrap();
    let reader = Reader::connect(&place.socket(), subject).unwrap();
    (accept(&listener).unwrap(), reader)
}

/// How it ends when nothing more is to come; the number of events before.
fn exhaust(reader: &mut Reader) -> (usize, Option<Disconnect>) {
    for events in 0.. {
        match reader.next(NOW) {
            Ok(Some(Event::Video(info))) => {
                let mut picture = VideoBuffer::default();
                if reader.copy_video(&info, &mut picture) == Copied::Whole {
                    for index in 0..if info.format == PixelFormat::I420 { 3 } else { 2 } {
                        let (bytes, stride) = picture.plane(index);
                        let rows = if index == 0 { info.height } else { info.height.div_ceil(2) };
                        assert_eq!(bytes.len(), rows as usize * stride as usize);
                        assert!(stride >= if index == 0 { info.width } else { info.width.div_ceil(2) });
                    }
                }
            }
            Ok(Some(Event::Audio(info))) => {
                let mut sound = AudioBuffer::default();
                if reader.copy_audio(&info, &mut sound) == Copied::Whole {
                    for channel in 0..info.channels {
                        assert_eq!(sound.channel(channel).len(), info.frames);
                        assert!(sound.channel(channel).iter().all(|sample| sample.is_finite()));
                    }
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return (events, None),
            Err(end) => return (events, Some(end)),
        }
    }
    unreachable!()
}

const NOW: u64 = 1_000_000_000_000;
const WELCOME: &[u8] = &[1, 1, 0, 4];

fn ring_note(length: u64) -> Vec<u8> {
    [&[2, 1, 0, 0, 1, 0, 0, 0], &length.to_le_bytes()[..]].concat()
}

fn note(kind: u8, number: u64) -> Vec<u8> {
    [&[kind, 1, 0, 0, 0, 0, 0, 0], &number.to_le_bytes()[..]].concat()
}

fn memfd(content: &[u8], length: u64, seals: SealFlags) -> OwnedFd {
    let fd = memfd_create("trap", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, length).unwrap();
    rustix::io::pwrite(&fd, content, 0).unwrap();
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

fn all_seals() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL
}

/// A ring's header: video cells and their size, audio cells and their size, where they begin, length.
fn ring_header(video: (u32, u64), audio: (u32, u32), starts: (u64, u64), length: u64) -> Vec<u8> {
    let mut bytes = b"GRFR\x01\x00\x00\x00\x00\x10\x00\x00".to_vec();
    bytes.extend(video.0.to_le_bytes());
    bytes.extend(video.1.to_le_bytes());
    bytes.extend(audio.0.to_le_bytes());
    bytes.extend(audio.1.to_le_bytes());
    bytes.extend(starts.0.to_le_bytes());
    bytes.extend(starts.1.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes
}

const LENGTH: u64 = 1 << 20;
const VIDEO: (u32, u64) = (2, 200_000);
const AUDIO: (u32, u32) = (4, 20_000);
const STARTS: (u64, u64) = (4096, 500_000);

#[test]
fn a_host_that_talks_nonsense_is_left() {
    let place = Place::new("nonsense");
    let long = [3; 600];
    let nonsense: &[&[&[u8]]] = &[
        &[b"HTTP/1.1 200 OK"],
        &[&[0]],
        &[&[1, 9, 0, 4]],
        &[&[3, 1, 0, 0, 0, 0, 0, 0]],
        &[WELCOME, &[200]],
        &[WELCOME, &[4, 1]],
        &[WELCOME, &[3, 1, 4, 9, 0, 0, 0, 0, b'a']],
        &[WELCOME, &[3, 1, 4, 2, 0, 0, 0, 0, 0xc3, 0x28]],
        &[WELCOME, &[3, 2, 0, 0, 0, 0, 0, 0]],
        &[WELCOME, &long],
        &[WELCOME, &[4, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]],
        &[WELCOME, &[5, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]],
        &[&[6, 1]],
        &[&[6, 99]],
    ];
    for messages in nonsense {
        let (host, mut reader) = trap(&place);
        for message in *messages {
            tell(&host, message, &[]);
        }
        assert!(exhaust(&mut reader).1.is_some(), "{messages:?}");
    }
}

#[test]
fn a_host_of_another_major_version_says_which_of_the_two_is_older() {
    let place = Place::new("major");
    for (welcome, older) in
        [([1, 0, 9, 4], Older::Host), ([1, 2, 0, 4], Older::Reader), ([1, 255, 0, 0], Older::Reader)]
    {
        let (host, mut reader) = trap(&place);
        tell(&host, &welcome, &[]);
        assert!(matches!(exhaust(&mut reader).1, Some(Disconnect::Version(seen)) if seen == older));
    }
}

#[test]
fn an_old_host_hears_nothing_it_does_not_know() {
    let place = Place::new("old");
    let (host, mut slot) = trap(&place);
    slot.set_look(Look { scene: Scene::Program, height: 720 });
    assert!(tell(&host, WELCOME, &[]));
    assert_eq!(exhaust(&mut slot).1.map(|_| ()), None);
    let mut said = Vec::new();
    let mut bytes = [0; 512];
    while let Ok((_, length @ 1..)) = recv(&host, &mut bytes[..], RecvFlags::DONTWAIT) {
        said.push(bytes[..length].to_vec());
    }
    let kinds: Vec<u8> = said.iter().map(|message| message[0]).collect();
    assert!(kinds.starts_with(&[1, 2, 3]) && kinds.iter().all(|kind| *kind <= 4), "{said:?}");

    drop((host, slot));
    let (host, mut follower) = trap_for(&place, Subject { who: Who::Screen, stand_in: None });
    assert!(tell(&host, WELCOME, &[]));
    assert!(matches!(exhaust(&mut follower).1, Some(Disconnect::Version(Older::Host))));
}

#[test]
fn a_ring_that_could_hurt_is_never_mapped() {
    let place = Place::new("ring");
    let good = ring_header(VIDEO, AUDIO, STARTS, LENGTH);
    let pipe = rustix::pipe::pipe().unwrap().0;
    let huge = 1 << 40;
    let check = |what: &str, note: Vec<u8>, descriptors: &[BorrowedFd<'_>]| {
        let (host, mut reader) = trap(&place);
        tell(&host, WELCOME, &[]);
        tell(&host, &note, descriptors);
        let (events, end) = exhaust(&mut reader);
        assert!(events == 0 && end.is_some(), "{what}: {events} {end:?}");
    };
    check("no descriptor", ring_note(LENGTH), &[]);
    check("a pipe", ring_note(LENGTH), &[pipe.as_fd()]);
    check("unsealed", ring_note(LENGTH), &[memfd(&good, LENGTH, SealFlags::empty()).as_fd()]);
    check(
        "may shrink",
        ring_note(LENGTH),
        &[memfd(&good, LENGTH, SealFlags::GROW | SealFlags::SEAL).as_fd()],
    );
    check("shorter", ring_note(LENGTH), &[memfd(&good, 4096, all_seals()).as_fd()]);
    check("empty", ring_note(0), &[memfd(&good, 0, SealFlags::SHRINK).as_fd()]);
    check("huge", ring_note(huge), &[memfd(&good, huge, all_seals()).as_fd()]);
    check("odd", ring_note(LENGTH + 1), &[memfd(&good, LENGTH + 1, all_seals()).as_fd()]);
    check("all zero", ring_note(LENGTH), &[memfd(&[], LENGTH, all_seals()).as_fd()]);

    let headers = [
        ring_header((0, 200_000), AUDIO, STARTS, LENGTH),
        ring_header((u32::MAX, 200_000), AUDIO, STARTS, LENGTH),
        ring_header((2, 0), AUDIO, STARTS, LENGTH),
        ring_header((2, 128), AUDIO, STARTS, LENGTH),
        ring_header((2, u64::MAX), AUDIO, STARTS, LENGTH),
        ring_header((2, 1 << 63), AUDIO, STARTS, LENGTH),
        ring_header((6, 200_000), AUDIO, STARTS, LENGTH),
        ring_header((2, 200_001), AUDIO, STARTS, LENGTH),
        ring_header(VIDEO, (0, 20_000), STARTS, LENGTH),
        ring_header(VIDEO, (4, 64), STARTS, LENGTH),
        ring_header(VIDEO, (4, u32::MAX), STARTS, LENGTH),
        ring_header(VIDEO, AUDIO, (0, 500_000), LENGTH),
        ring_header(VIDEO, AUDIO, (u64::MAX - 7, 500_000), LENGTH),
        ring_header(VIDEO, AUDIO, (4096, LENGTH - 8), LENGTH),
        ring_header(VIDEO, AUDIO, (4097, 500_000), LENGTH),
        ring_header(VIDEO, AUDIO, STARTS, LENGTH + 8),
    ];
    for header in headers {
        let ring = memfd(&header, LENGTH, all_seals());
        check(&format!("{header:?}"), ring_note(LENGTH), &[ring.as_fd()]);
    }

    let (host, mut reader) = trap(&place);
    tell(&host, WELCOME, &[]);
    let ring = memfd(&good, LENGTH, all_seals());
    tell(&host, &ring_note(LENGTH), &[ring.as_fd(), pipe.as_fd(), pipe.as_fd()]);
    assert!(
        matches!(exhaust(&mut reader), (1, None)),
        "the honest one of several is taken, the others closed"
    );
}

#[test]
fn cells_of_random_bytes_are_at_most_ugly() {
    let place = Place::new("cells");
    let mut dice = Dice(0x5eed);
    let (mut pictures, mut ends) = (0, 0);
    for _ in 0..300 {
        let (host, mut reader) = trap(&place);
        let ring = memfd(&ring_header(VIDEO, AUDIO, STARTS, LENGTH), LENGTH, all_seals());
        tell(&host, WELCOME, &[]);
        tell(&host, &ring_note(LENGTH), &[ring.as_fd()]);
        for _ in 0..8 {
            let number = dice.roll() % 4;
            let (kind, cell) = match dice.roll() % 2 {
                0 => (4, STARTS.0 + number % 2 * VIDEO.1),
                _ => (5, STARTS.1 + number % 4 * u64::from(AUDIO.1)),
            };
            let mut header = dice.bytes(128);
            // Random alone would never come far: most fields are right most of the time.
            let mut keep = |at: usize, value: &[u8]| {
                if !dice.roll().is_multiple_of(12) {
                    header[at..at + value.len()].copy_from_slice(value);
                }
            };
            keep(0, &(2 * number + 2).to_le_bytes());
            if kind == 4 {
                keep(8, &[1, 0, 0, 0]);
                keep(12, &[64, 0, 64, 0]);
                keep(16, &64_u32.to_le_bytes());
                keep(20, &64_u32.to_le_bytes());
                keep(24, &64_u32.to_le_bytes());
                keep(28, &[0, 1, 0, 0]);
                keep(32, &NOW.to_le_bytes());
                keep(60, &(64 * 128_u32).to_le_bytes());
                keep(56, &[0; 4]);
                let places = [[0; 3], [LENGTH - 8192, 8, 200_000], [0, 0, LENGTH]];
                for (at, place) in (64..).step_by(4).zip(places[number as usize % 3]) {
                    keep(at, &(place as u32).to_le_bytes());
                }
            } else {
                keep(8, &48_000_u32.to_le_bytes());
                keep(12, &480_u16.to_le_bytes());
                keep(14, &2_u16.to_le_bytes());
                keep(16, &NOW.to_le_bytes());
                keep(32, &[0; 4]);
            }
            rustix::io::pwrite(&ring, &header, cell).unwrap();
            tell(&host, &note(kind, number), &[]);
        }
        let (events, end) = exhaust(&mut reader);
        pictures += events;
        ends += usize::from(end.is_some());
    }
    assert!(pictures > 300 && ends > 50, "the test reaches both sides: {pictures} {ends}");
}

#[test]
fn a_writer_that_dies_holding_a_cell_leaves_it_unseen() {
    let place = Place::new("dies");
    let (host, mut reader) = trap(&place);
    let ring = memfd(&ring_header(VIDEO, AUDIO, STARTS, LENGTH), LENGTH, all_seals());
    tell(&host, WELCOME, &[]);
    tell(&host, &ring_note(LENGTH), &[ring.as_fd()]);
    // Announced as picture 0 and chunk 0, which are being overwritten by 2 and 4 for ever after.
    rustix::io::pwrite(&ring, &(2 * 2 + 1_u64).to_le_bytes(), STARTS.0).unwrap();
    rustix::io::pwrite(&ring, &(2 * 4 + 1_u64).to_le_bytes(), STARTS.1).unwrap();
    for (kind, number) in [(4, 0), (5, 0), (4, 2), (5, 4)] {
        tell(&host, &note(kind, number), &[]);
    }
    let (events, end) = exhaust(&mut reader);
    assert!(events == 1 && end.is_none(), "the ring and nothing of it: {events} {end:?}");
    while recv(&host, &mut [0_u8; 512][..], RecvFlags::DONTWAIT).is_ok_and(|(_, length)| length > 0) {}
    drop(host);
    assert!(matches!(exhaust(&mut reader), (0, Some(Disconnect::Closed))));
}

#[test]
fn a_host_that_floods_cannot_hold_a_reader() {
    let place = Place::new("flood");
    let (host, mut reader) = trap(&place);
    // From the future, so that unknown messages are skipped.
    tell(&host, &[1, 1, 200, 4], &[]);
    while tell(&host, &[77], &[]) {}
    let mut calls = 0;
    while let Ok(None) = reader.next(NOW) {
        calls += 1;
        if !tell(&host, &[77], &[]) || calls > 100 {
            break;
        }
    }
    // Each call returned although there was always more.
    assert!(calls > 0);
}

// ---- A hostile reader ----

fn connect(path: &Path) -> OwnedFd {
    let socket = seqpacket();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

/// Whether the host hangs up within 5 s.
fn is_thrown_out(socket: &OwnedFd) -> bool {
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    loop {
        if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&patience)).unwrap() == 0 {
            return false;
        }
        match recv(socket, &mut [0_u8; 1024], RecvFlags::empty()) {
            Ok((0, _)) | Err(_) => return true,
            Ok(_) => {}
        }
    }
}

fn honest(place: &Place) -> Reader {
    let mut reader = Reader::connect(&place.socket(), Subject::slot(1)).unwrap();
    reader.set_look(Look::PROGRAM);
    reader
}

/// A chunk written now reaches the honest reader.
fn still_served(writer: &mut SlotWriter, reader: &mut Reader) {
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    loop {
        writer.write_audio(&[&[0.0; 480]], 480, 48_000, now_ns()).unwrap();
        assert!(poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&patience)).unwrap() > 0);
        while let Some(event) = reader.next(now_ns()).unwrap() {
            if let Event::Audio(_) = event {
                return;
            }
        }
    }
}

const HELLO: &[u8] = b"\x01\x01\x00\x00GRIP";

#[test]
fn a_reader_out_of_order_is_thrown_out_and_nobody_else_notices() {
    let place = Place::new("order");
    let host = Host::bind(&place.socket(), 2).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut good = honest(&place);
    still_served(&mut writer, &mut good);
    let mut dice = Dice(7);
    let random: Vec<Vec<u8>> = (1..64).map(|length| dice.bytes(length)).collect();
    let long = vec![3; 4096];
    let mut cases: Vec<Vec<&[u8]>> = vec![
        vec![b"GET / HTTP/1.1\r\n\r\n"],
        vec![HELLO, HELLO],
        vec![&[2, 1]],
        vec![HELLO, &[2, 3]],
        vec![HELLO, &[2, 255]],
        vec![HELLO, &[3, 1]],
        vec![HELLO, &[2, 1], &[2, 2]],
        vec![HELLO, &[2, 1], &[3, 7]],
        vec![HELLO, &[2, 1], &[4, 0]],
        vec![HELLO, &[2, 0], &[3, 1]],
        vec![HELLO, &[2, 1], &long],
    ];
    cases.extend(random.iter().map(|bytes| vec![bytes.as_slice()]));
    for case in cases {
        let bad = connect(&place.socket());
        for message in &case {
            tell(&bad, message, &[bad.as_fd(), bad.as_fd()]);
        }
        assert!(is_thrown_out(&bad), "{case:?}");
    }
    still_served(&mut writer, &mut good);
}

#[test]
fn a_reader_of_another_major_version_is_told_ours_and_the_host_knows() {
    let place = Place::new("stranger");
    let host = Host::bind(&place.socket(), 2).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut good = honest(&place);
    still_served(&mut writer, &mut good);
    assert_eq!(host.mismatch(), None);
    for (hello, older) in [(b"\x01\x00\x07\x00GRIP", Older::Reader), (b"\x01\x02\x00\x00GRIP", Older::Host)] {
        let stranger = connect(&place.socket());
        tell(&stranger, hello, &[]);
        tell(&stranger, &[2, 1], &[]);
        let mut bytes = [0_u8; 64];
        let (_, length) = recv(&stranger, &mut bytes, RecvFlags::empty()).unwrap();
        assert_eq!(&bytes[..length], &[1, 1, 3, 0]);
        assert!(is_thrown_out(&stranger));
        assert_eq!(host.mismatch(), Some(older));
    }
    still_served(&mut writer, &mut good);
}

#[test]
fn a_reader_that_knows_only_cells_finds_every_picture_there() {
    let place = Place::new("cells-only");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut write = || {
        let piece = writer.lender().lend(64 * 64 * 2).unwrap();
        let (luma, chroma) = piece.split_at(64 * 64);
        let planes = [
            Plane { data: luma, stride: 64 },
            Plane { data: &chroma[..32 * 32], stride: 32 },
            Plane { data: &chroma[32 * 32..32 * 64], stride: 32 },
        ];
        let frame = VideoFrame {
            format: PixelFormat::I420,
            width: 64,
            height: 64,
            planes: &planes,
            timestamp_ns: now_ns(),
            arrival_ns: now_ns(),
            full_range: false,
            matrix: Matrix::Bt601,
            rotation: Rotation::None,
        };
        writer.write_video(&frame).unwrap()
    };
    let until_shown = |count: u32| {
        while host.readers()[0].shown != count {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    assert_eq!(write(), Written::InPlace);
    let older = connect(&place.socket());
    for message in [HELLO, &[2, 1], &[3, 1]] {
        tell(&older, message, &[]);
    }
    until_shown(1);
    assert_eq!(write(), Written::Copied);
    let mut kinds = Vec::new();
    while kinds.last() != Some(&4) {
        let mut bytes = [0_u8; 512];
        let (_, length) = recv(&older, &mut bytes, RecvFlags::empty()).unwrap();
        assert!(length > 0);
        kinds.push(bytes[0]);
        if bytes[0] == 4 {
            assert_eq!(bytes[8], 1, "of the first, which is not in its cell, it is not told");
        }
    }
    assert_eq!(kinds, [1, 2, 3, 4]);
    drop(older);
    until_shown(0);
    assert_eq!(write(), Written::InPlace);
}

#[test]
fn a_reader_that_floods_is_thrown_out() {
    let place = Place::new("chatter");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut good = honest(&place);
    let bad = connect(&place.socket());
    tell(&bad, HELLO, &[]);
    tell(&bad, &[2, 1], &[]);
    for i in 0..1000 {
        if sendmsg(
            &bad,
            &[IoSlice::new(&[3, i as u8 & 1])],
            &mut SendAncillaryBuffer::default(),
            SendFlags::NOSIGNAL,
        )
        .is_err()
        {
            break;
        }
    }
    assert!(is_thrown_out(&bad));
    still_served(&mut writer, &mut good);
}

#[test]
fn a_crowd_is_told_that_the_house_is_full() {
    let place = Place::new("crowd");
    let host = Host::bind(&place.socket(), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut good = honest(&place);
    still_served(&mut writer, &mut good);
    let crowd: Vec<_> = (0..70)
        .map(|_| {
            let socket = connect(&place.socket());
            tell(&socket, HELLO, &[]);
            tell(&socket, &[2, 1], &[]);
            socket
        })
        .collect();
    let last = crowd.last().unwrap();
    let mut bytes = [0_u8; 64];
    let (_, length) = recv(last, &mut bytes, RecvFlags::empty()).unwrap();
    assert_eq!(&bytes[..length], &[6, 1]);
    still_served(&mut writer, &mut good);
    assert!(host.readers()[0].readers <= 64);
    // They go, and there is room again.
    drop(crowd);
    for _ in 0..500 {
        if host.readers()[0].readers == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut other = honest(&place);
    still_served(&mut writer, &mut other);
}
