//! Pictures and sound from the media worker to OBS: a shared-memory ring per slot and a socket of short notes.
//!
//! The media worker is the *host*: it binds a Unix socket and owns one ring per slot. Every OBS source is a
//! *reader*: it connects, names a slot, receives the ring's descriptor and then a note for each picture and
//! each chunk of sound. Neither side can hurt the other: the host never waits for a reader (a note that does
//! not fit its socket is dropped), and a reader believes nothing it has not checked.
//!
//! All integers are little-endian; times are `CLOCK_MONOTONIC` in nanoseconds. This is protocol version 1.3. A
//! host answers a reader of another major version with its own and closes, so that each knows which of them is to be
//! updated: HELLO and WELCOME keep their form in every version. A message kind unknown to a reader is skipped if the host's minor
//! version is higher than its own, and ends the connection otherwise. What a minor version added is said to a
//! host only after it has greeted with that version or a later one.
//!
//! # The socket
//!
//! `SOCK_SEQPACKET`, mode 0600; both ends check that the other has their own user id (`SO_PEERCRED`).
//! The first byte of a message says what it is.
//!
//! Reader to host, at most 320 bytes (64 in version 1.0):
//!
//! ```text
//! HELLO      1, major, minor, 0, "GRIP"            first, within 5 s
//! SUBSCRIBE  2, slot                               second; slot 0: the state of every slot, no media
//! SHOWN      3, 0 or 1                             pictures are announced only while 1; begins as 0
//! REPORT     4, 0, 0, 0, nine u32                  delivered, skipped, torn, refused pictures since the last
//!                                                  report, then in µs: median and worst time from write to
//!                                                  reader, then arrival to hand-over p50, p95, p99
//! FOLLOW     5, who, stand-in, x, u16 y, name      (1.1) second, in place of SUBSCRIBE: notes are about a slot of
//!                                                  the host's choice, numbered above the others; stand-in: a slot,
//!                                                  or 0. Who: 1 slot x, 2 the active speaker (x: sensitivity
//!                                                  0 to 2, y: hold in ms), 3 a shared screen, 4 the guest `name`
//! LOOK       6, 0 to 2, u16 height                 (1.1) in place of SHOWN: hidden, on preview, on programme; how
//!                                                  high the picture is drawn, 0: not known
//! ```
//!
//! Host to reader, at most 512 bytes:
//!
//! ```text
//! WELCOME    1, major, minor, slots                answers HELLO; then closed if the major versions differ
//! RING       2, slot, 0, 0, u32 generation, u64 length, with the ring's descriptor (SCM_RIGHTS)
//! STATE      3, slot, flags, n, u32 epoch, n bytes of UTF-8
//!                                                  flags: 1 video live, 2 audio live, 4 somebody is there,
//!                                                  8 their video cannot be shown (1.2)
//! VIDEO      4, slot, flags, 0, 0, 0, 0, 0, u64 n  picture n is in the ring; flags: 1 it is the last picture
//!                                                  of a slot at rest, however old
//! AUDIO      5, slot, 0, 0, 0, 0, 0, 0, u64 n      chunk n is in the ring
//! REFUSED    6, reason                             1 too many readers, 2 version (up to 1.1), 3 no such
//!                                                  slot; then closed
//! ```
//!
//! RING and STATE are never lost: one that does not fit is sent before the next note. After SUBSCRIBE come
//! RING, STATE and, if the slot has a picture and the reader shows it, VIDEO.
//!
//! # The ring
//!
//! A memfd sealed against shrinking, growing and further seals (a mapping of a file that can shrink is a
//! SIGBUS waiting to happen). It never changes shape: a picture that does not fit makes a new ring, announced
//! by RING with the next generation; numbering continues.
//!
//! ```text
//!    0  u32  "GRFR"                       24  u32  audio cells
//!    4  u16  major, u16 minor             28  u32  bytes per audio cell
//!    8  u32  4096, length of this header  32  u64  where the first video cell is
//!   12  u32  video cells                  40  u64  where the first audio cell is
//!   16  u64  bytes per video cell         48  u64  length of the ring
//! ```
//!
//! Picture `n` is in video cell `n % cells`:
//!
//! ```text
//!    0  u64  2n + 1 while being written, 2n + 2 when whole
//!    8  u32  1 I420, 2 NV12
//!   12  u16  width, u16 height
//!   16  3 × u32  bytes per row of each plane, multiples of 8 (NV12: the third is 0)
//!   28  u8   1 full range;  u8  1 BT.601, 2 BT.709;  u16  degrees to turn clockwise: 0, 90, 180, 270
//!   32  u64  presentation time
//!   40  u64  arrival of the last packet of the picture
//!   48  u64  when it was written here
//!   56  u32  epoch of the slot's state
//!   60  u32  bytes of pixels
//!   64  3 × u32  (1.3) where each plane is, from the ring's beginning, multiples of 8; all 0: below
//!  128  …    the planes, each directly after the one before
//! ```
//!
//! Chunk `n` is in audio cell `n % cells`:
//!
//! ```text
//!    0  u64  2n + 1 while being written, 2n + 2 when whole
//!    8  u32  samples per second
//!   12  u16  samples per channel, u16 channels
//!   16  u64  presentation time of the first sample
//!   24  u64  when it was written here
//!   32  u32  epoch of the slot's state
//!   64  …    f32 samples, one channel after another, each padded to 8 bytes
//! ```
//!
//! A reader checks the first field, copies the rest, and checks the first field again: what was overwritten
//! meanwhile is never handed on.
//!
//! Behind the audio cells is memory that the host lends to its decoders ([`Lender`]): a picture made there stays there, and its cell says
//! where. It is not written again before its cell is. Readers that do not know of it, before version 1.3, make the host copy.
#![deny(unsafe_code)]

mod host;
mod layout;
mod lending;
mod mapping;
mod message;
mod pixels;
mod reader;
mod slot;
mod socket;
mod subject;

pub use host::{FOLLOWED, Followed, Host, SlotReaders};
pub use layout::{MAX_AUDIO_FRAMES, MAX_CHANNELS, MAX_PIXELS, MAX_SIDE, Matrix, PixelFormat, Rotation};
pub use lending::{Lender, LentPiece};
pub use message::{Look, Older, Report, Scene, SlotState};
pub use pixels::{LentPixels, Pixels};
pub use reader::{
    AudioBuffer, AudioInfo, Copied, Disconnect, Event, Reader, SlotInfo, VideoBuffer, VideoInfo, list_slots,
};
pub use slot::{Plane, SlotWriter, VideoFrame, WriteError, Written};
pub use socket::{SOCKET_ENV, default_socket_path};
pub use subject::{Sensitivity, Subject, Who};

/// Now, as every timestamp of this crate counts: `CLOCK_MONOTONIC` in nanoseconds.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// What a slot is called wherever a person sees it.
pub fn slot_label(slot: u8) -> String {
    format!("Guest {slot}")
}
