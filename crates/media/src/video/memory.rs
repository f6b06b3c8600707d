//! Where decoded pictures are put: into the memory that OBS reads, while there is some, else into FFmpeg's own.
#![allow(unsafe_code)]

use ffmpeg::format::Pixel;
use ffmpeg::{codec, ffi};
use ffmpeg_the_third as ffmpeg;
use frame_ipc::{Lender, LentPiece};
use std::cell::RefCell;
use std::ffi::{c_int, c_void};

/// What a decoder asks for each picture. Must outlive the decoder it is given to; pictures may outlive both.
#[derive(Default)]
pub struct Memory {
    lender: RefCell<Option<Lender>>,
}

/// A picture's planes within one piece of memory.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// Bytes from row to row; 0: no such plane.
    strides: [usize; 3],
    places: [usize; 3],
    length: usize,
}

impl Memory {
    /// From whom the next pictures' memory is. `None`: FFmpeg.
    pub fn set_lender(&self, lender: Option<Lender>) {
        self.lender.replace(lender);
    }

    /// Lets a decoder that is about to be opened ask here. `self` must not move and outlive it.
    pub fn serve(&self, context: &mut codec::Context) {
        // SAFETY: the context is not open yet. The pointer is read only by `get_buffer`, only while the decoder works.
        unsafe {
            let context = context.as_mut_ptr();
            (*context).opaque = std::ptr::from_ref(self).cast_mut().cast();
            (*context).get_buffer2 = Some(get_buffer);
        }
    }
}

/// FFmpeg's `get_buffer2`.
///
/// # Safety
/// Called by a decoder that [`Memory::serve`] served, on the thread that decodes.
unsafe extern "C" fn get_buffer(
    context: *mut ffi::AVCodecContext,
    frame: *mut ffi::AVFrame,
    flags: c_int,
) -> c_int {
    // SAFETY: FFmpeg's contract: both are valid, the frame's format and size are set, its buffers are to be.
    unsafe {
        match place(context, frame) {
            Some(()) => 0,
            None => ffi::avcodec_default_get_buffer2(context, frame, flags),
        }
    }
}

/// # Safety
/// As [`get_buffer`].
unsafe fn place(context: *mut ffi::AVCodecContext, frame: *mut ffi::AVFrame) -> Option<()> {
    // SAFETY: as above; `opaque` is what `serve` put there.
    let (memory, codec, picture) =
        unsafe { ((*context).opaque.cast::<Memory>().as_ref()?, (*context).codec.as_ref()?, &mut *frame) };
    if codec.capabilities & ffi::AV_CODEC_CAP_DR1 as c_int == 0 {
        return None;
    }
    let chroma_planes = match Pixel::from(ffi::AVPixelFormat(picture.format)) {
        Pixel::YUV420P | Pixel::YUVJ420P => 2,
        Pixel::NV12 => 1,
        _ => return None,
    };
    let (mut width, mut height, mut alignment) = (picture.width, picture.height, [0; 8]);
    // SAFETY: an open context and three valid places for what it answers.
    unsafe {
        ffi::avcodec_align_dimensions2(context, &mut width, &mut height, alignment.as_mut_ptr());
    }
    let alignment = usize::try_from(alignment.into_iter().max()?).ok()?;
    let layout =
        layout(usize::try_from(width).ok()?, usize::try_from(height).ok()?, alignment, chroma_planes)?;
    let mut piece = memory.lender.try_borrow().ok()?.as_ref()?.lend(layout.length)?;
    let (start, length) = (piece.as_mut_ptr(), piece.len());
    let owner = Box::into_raw(Box::new(piece));
    // SAFETY: the bytes are the piece's, which is given back by `give_back` when FFmpeg's last reference has gone.
    let buffer = unsafe { ffi::av_buffer_create(start, length, Some(give_back), owner.cast(), 0) };
    if buffer.is_null() {
        // SAFETY: FFmpeg had no memory for its reference and did not take the piece.
        drop(unsafe { Box::from_raw(owner) });
        return None;
    }
    picture.buf[0] = buffer;
    for plane in 0..=chroma_planes {
        // SAFETY: `layout` keeps every place within its length, which the piece has.
        picture.data[plane] = unsafe { start.add(layout.places[plane]) };
        picture.linesize[plane] = layout.strides[plane] as c_int;
    }
    picture.extended_data = picture.data.as_mut_ptr();
    Some(())
}

/// # Safety
/// Called once by FFmpeg with what `place` handed over.
unsafe extern "C" fn give_back(owner: *mut c_void, _: *mut u8) {
    // SAFETY: as above.
    drop(unsafe { Box::from_raw(owner.cast::<LentPiece>()) });
}

/// As FFmpeg's own allocator lays out a picture of this size, its `alignment` being that of rows: decoders take the rows of all
/// pictures of a stream to be equally far apart, and the next one may be in FFmpeg's memory.
fn layout(width: usize, height: usize, alignment: usize, chroma_planes: usize) -> Option<Layout> {
    let chroma_row = |width: usize| width.div_ceil(2) * (3 - chroma_planes);
    let mut row = width;
    // Until the rows of every plane begin where they should: wider by the lowest bit that is set.
    while alignment > 0 && (!row.is_multiple_of(alignment) || !chroma_row(row).is_multiple_of(alignment)) {
        row = row.checked_add(row & row.wrapping_neg())?;
    }
    let (mut strides, mut places, mut next) = ([0; 3], [0; 3], 0_usize);
    for plane in 0..=chroma_planes {
        let (stride, rows) = if plane == 0 { (row, height) } else { (chroma_row(row), height.div_ceil(2)) };
        (strides[plane], places[plane]) = (stride, next);
        next = next.checked_add(stride.checked_mul(rows)?.checked_add(SLACK)?)?.next_multiple_of(PLACE);
    }
    Some(Layout { strides, places, length: next })
}

/// Decoders read and write a little past the last row.
const SLACK: usize = 128;
/// Where vector instructions like planes to begin.
const PLACE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_follow_each_other_with_rows_as_ffmpeg_has_them() {
        let of = |width, height, planes| layout(width, height, 64, planes).unwrap();
        assert_eq!(of(1280, 736, 2).strides, [1280, 640, 640]);
        // 480 is no multiple of 64, and 1,024 / 2 is the next that is.
        assert_eq!(of(960, 544, 2).strides, [1024, 512, 512]);
        assert_eq!(of(960, 544, 1).strides, [960, 960, 0]);
        let layout = of(1280, 736, 2);
        assert_eq!(layout.places, [0, 942_208, 1_177_856]);
        assert_eq!(layout.length, 1_413_504);
    }
}
