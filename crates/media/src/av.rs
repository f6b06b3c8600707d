//! The two things FFmpeg's binding does not give safely: a plane's exact bytes, and a frame's error flags.
#![allow(unsafe_code)]

use ffmpeg_the_third::frame;

/// The rows of plane `index`: `rows` of them, `stride` bytes apart, of which `row` each are pixels. `None` when the
/// frame has no such plane.
///
/// The binding's own `data` counts a full stride for the last row too, which reaches past the buffer when a stream
/// crops its pictures on the left.
pub fn plane(frame: &frame::Video, index: usize, row: usize, rows: usize) -> Option<(&[u8], usize)> {
    // SAFETY: the frame is valid as long as its owner lives, which the returned lifetime says. A decoder's or
    // scaler's frame has, for each plane, `rows` rows of at least `row` bytes from `data[index]` on, `linesize`
    // apart; negative line sizes (pictures stored upside down) and missing planes are refused here.
    unsafe {
        let raw = &*frame.as_ptr();
        let stride = usize::try_from(*raw.linesize.get(index)?).ok()?;
        let start = *raw.data.get(index)?;
        if start.is_null() || stride < row || rows == 0 {
            return None;
        }
        let length = stride.checked_mul(rows - 1)?.checked_add(row)?;
        Some((std::slice::from_raw_parts(start, length), stride))
    }
}

/// Whether the decoder noticed damage in this picture.
pub fn is_damaged(frame: &frame::Video) -> bool {
    // SAFETY: as above; a plain field.
    frame.is_corrupt() || unsafe { (*frame.as_ptr()).decode_error_flags != 0 }
}
