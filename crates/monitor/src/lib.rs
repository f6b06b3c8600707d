//! The monitor process: plays the mix of guests on a device of the streamer's; see `wire::monitor`.
//!
//! A process of its own, because sound services hang, and their libraries are C or missing: nobody but the streamer's
//! headphones shall notice. The main thread reads the mix and ends with it; another one finds the device, opens it and
//! reports; the service's own thread takes what is played. Nothing here hears of OBS or of who the guests are.
#![forbid(unsafe_code)]

pub mod conceal;
pub mod cookie;
pub mod device;
pub mod playout;
pub mod ring;
