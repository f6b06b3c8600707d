//! A host that means harm, to see that OBS does not mind: `hostile SOCKET [SECONDS]`.
//!
//! It greets every reader in good form and then sends what should never be sent: random messages, rings that are
//! unsealed or lie about themselves, cells with random geometry, sound and pictures with times all over the
//! place, silence, floods. Whoever hangs up is greeted again.

use greenroom_frame_ipc::now_ns;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::*;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: hostile SOCKET [SECONDS]");
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(20);
    let _ = std::fs::remove_file(&path);
    if let Some(folder) = std::path::Path::new(&path).parent() {
        std::fs::create_dir_all(folder).expect("cannot make the socket's folder");
    }
    let listener =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).expect("cannot bind");
    listen(&listener, 64).unwrap();
    println!("ready");
    let end = Instant::now() + Duration::from_secs(seconds);
    for visitor in 0.. {
        let socket = accept(&listener).unwrap();
        std::thread::spawn(move || torment(&socket, Dice(0x9e37_79b9 + visitor), end));
        if Instant::now() > end {
            break;
        }
    }
}

fn torment(socket: &OwnedFd, mut dice: Dice, end: Instant) {
    // HELLO, then SUBSCRIBE, whose second byte is the slot.
    let mut bytes = [0_u8; 64];
    let _ = recv(socket, &mut bytes, RecvFlags::empty());
    let _ = recv(socket, &mut bytes, RecvFlags::empty());
    let slot = bytes[1];
    tell(socket, &[1, 1, 0, 8], None);
    let ring = new_ring(&mut dice);
    tell(socket, &numbered(2, slot, LENGTH), Some(ring.as_fd()));
    tell(socket, &[&[3, slot, 7, 3, 0, 0, 0, 0], &b"Eve"[..]].concat(), None);
    // Some behave for a while, so that their pictures and sound get far.
    let spite = dice.one_in(2);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(dice.roll() % 12));
        let done = match dice.roll() % if spite { 24 } else { 20 } {
            0..8 => audio(socket, &ring, slot, &mut dice),
            8..19 => video(socket, &ring, slot, &mut dice),
            19 => tell(socket, &[3, slot, dice.roll() as u8 & 7, 0, dice.roll() as u8 & 1, 0, 0, 0], None),
            20 => {
                let length = dice.roll() as usize % 600;
                tell(socket, &(0..length).map(|_| dice.roll() as u8).collect::<Vec<_>>(), None)
            }
            21 => {
                let worse = new_ring(&mut dice);
                let sent = tell(socket, &numbered(2, slot, LENGTH), Some(worse.as_fd()));
                let _ = ftruncate(&worse, 4096);
                sent
            }
            22 => (0..5000).all(|i| tell(socket, &numbered(4, slot, i), None)),
            _ => {
                std::thread::sleep(Duration::from_secs(3));
                true
            }
        };
        if !done {
            return;
        }
    }
}

fn new_ring(dice: &mut Dice) -> OwnedFd {
    let fd = memfd_create("hostile", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, LENGTH).unwrap();
    let mut header = b"GRFR\x01\x00\x00\x00\x00\x10\x00\x00".to_vec();
    header.extend(2_u32.to_le_bytes());
    header.extend(VIDEO_CELL.to_le_bytes());
    header.extend(4_u32.to_le_bytes());
    header.extend((AUDIO_CELL as u32).to_le_bytes());
    header.extend(VIDEO_START.to_le_bytes());
    header.extend(AUDIO_START.to_le_bytes());
    header.extend(LENGTH.to_le_bytes());
    if dice.one_in(6) {
        let at = dice.roll() as usize % header.len();
        header[at] = dice.roll() as u8;
    }
    rustix::io::pwrite(&fd, &header, 0).unwrap();
    if !dice.one_in(6) {
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
    }
    fd
}

fn video(socket: &OwnedFd, ring: &OwnedFd, slot: u8, dice: &mut Dice) -> bool {
    let number = dice.roll() % 8;
    let cell = VIDEO_START + number % 2 * VIDEO_CELL;
    let mut header = vec![0_u8; 128];
    put(&mut header, 8, &(1 + dice.roll() as u32 % 2).to_le_bytes());
    let (width, height) = (2 + dice.roll() as u32 % 400, 2 + dice.roll() as u32 % 300);
    put(&mut header, 12, &(width as u16).to_le_bytes());
    put(&mut header, 14, &(height as u16).to_le_bytes());
    let mut pixels = 0;
    for plane in 0..if header[8] == 1 { 3 } else { 2 } {
        let row = match (plane, header[8]) {
            (0, _) => width,
            (_, 1) => width.div_ceil(2),
            _ => width.div_ceil(2) * 2,
        };
        let stride = row.next_multiple_of(8);
        put(&mut header, 16 + 4 * plane, &stride.to_le_bytes());
        pixels += stride * if plane == 0 { height } else { height.div_ceil(2) };
    }
    header[28] = dice.roll() as u8 & 1;
    header[29] = 1 + (dice.roll() as u8 & 1);
    put(&mut header, 30, &(dice.roll() as u16 % 4 * 90).to_le_bytes());
    put(&mut header, 32, &time(dice).to_le_bytes());
    put(&mut header, 40, &dice.roll().to_le_bytes());
    put(&mut header, 48, &dice.roll().to_le_bytes());
    put(&mut header, 60, &pixels.to_le_bytes());
    spoil(&mut header, dice, 40);
    finish(ring, cell, &header, number);
    tell(socket, &numbered(4, slot, number), None)
}

fn audio(socket: &OwnedFd, ring: &OwnedFd, slot: u8, dice: &mut Dice) -> bool {
    let number = dice.roll() % 16;
    let cell = AUDIO_START + number % 4 * AUDIO_CELL;
    let mut bytes = vec![0_u8; AUDIO_CELL as usize];
    bytes[64..].iter_mut().for_each(|byte| *byte = dice.roll() as u8);
    let rates = [8_000_u32, 44_100, 48_000, 96_000, 192_000, 11_111];
    put(&mut bytes, 8, &rates[dice.roll() as usize % rates.len()].to_le_bytes());
    put(&mut bytes, 12, &(1 + dice.roll() as u16 % 480).to_le_bytes());
    put(&mut bytes, 14, &(1 + dice.roll() as u16 % 8).to_le_bytes());
    put(&mut bytes, 16, &time(dice).to_le_bytes());
    spoil(&mut bytes[..64], dice, 40);
    finish(ring, cell, &bytes, number);
    tell(socket, &numbered(5, slot, number), None)
}

/// Now, or near, or at the limit, or anything.
fn time(dice: &mut Dice) -> u64 {
    let now = now_ns();
    match dice.roll() % 6 {
        0 | 1 => now,
        2 => now - dice.roll() % 1_600_000_000,
        3 => now + dice.roll() % 600_000_000,
        4 => dice.roll(),
        _ => [0, u64::MAX, now - 1_500_000_000, now + 500_000_000][dice.roll() as usize % 4],
    }
}

fn spoil(header: &mut [u8], dice: &mut Dice, one_in: u64) {
    if dice.one_in(one_in) {
        let at = 8 + dice.roll() as usize % (header.len() - 8);
        header[at] = dice.roll() as u8;
    }
}

fn finish(ring: &OwnedFd, cell: u64, bytes: &[u8], number: u64) {
    let _ = rustix::io::pwrite(ring, bytes, cell);
    let _ = rustix::io::pwrite(ring, &(2 * number + 2).to_le_bytes(), cell);
}

fn numbered(kind: u8, slot: u8, number: u64) -> Vec<u8> {
    [&[kind, slot, 0, 0, 0, 0, 0, 0], &number.to_le_bytes()[..]].concat()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn tell(socket: &OwnedFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(descriptor) = &descriptor {
        control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    !matches!(
        sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags),
        Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET)
    )
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

    fn one_in(&mut self, n: u64) -> bool {
        self.roll().is_multiple_of(n)
    }
}

const LENGTH: u64 = 1 << 20;
const VIDEO_START: u64 = 4096;
const VIDEO_CELL: u64 = 200_000;
const AUDIO_START: u64 = 500_000;
const AUDIO_CELL: u64 = 20_000;
