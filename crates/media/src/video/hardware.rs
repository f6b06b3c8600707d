//! Decoding on the graphics card: looked for once, used where the card has the codec.
//!
//! FFmpeg's own decoders take a device along and fall back by themselves when a stream is not one of the card's; what
//! comes out is copied back as NV12.
#![allow(unsafe_code)]

use ffmpeg::ffi;
use ffmpeg::{codec, frame};
use ffmpeg_the_third as ffmpeg;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

/// A card that decodes, open as long as the process lives.
struct Device {
    context: *mut ffi::AVBufferRef,
    kind: ffi::AVHWDeviceType,
}

// SAFETY: FFmpeg counts the references to a device atomically, and decoders on several threads share one.
unsafe impl Send for Device {}
// SAFETY: as above; nothing here changes the device.
unsafe impl Sync for Device {}

/// The first that can be opened. Looked for when the first guest's picture is decoded, and told in the log.
fn device() -> Option<&'static Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    DEVICE.get_or_init(probe).as_ref()
}

fn probe() -> Option<Device> {
    for (kind, name) in [(ffi::AVHWDeviceType::VAAPI, "VAAPI"), (ffi::AVHWDeviceType::CUDA, "NVDEC")] {
        let mut context = null_mut();
        // SAFETY: FFmpeg opens its default device of that kind, or returns an error and leaves null.
        let result = unsafe { ffi::av_hwdevice_ctx_create(&mut context, kind, null(), null_mut(), 0) };
        if result >= 0 && !context.is_null() {
            tracing::info!("pictures are decoded by the graphics card ({name}) where it knows the codec");
            return Some(Device { context, kind });
        }
    }
    tracing::info!("no graphics card decodes here: pictures are decoded by the processor");
    None
}

/// Whether `decoder` can use this machine's card.
pub fn knows(decoder: &codec::codec::Codec) -> bool {
    let Some(device) = device() else { return false };
    // SAFETY: FFmpeg's static list of a decoder's ways to use a card; null ends it.
    let configs = (0..).map_while(|i| unsafe { ffi::avcodec_get_hw_config(decoder.as_ptr(), i).as_ref() });
    let by_device = ffi::AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX.0 as i32;
    configs.into_iter().any(|config| config.device_type == device.kind && config.methods & by_device != 0)
}

/// Lets a decoder that is about to be opened use the card.
pub fn lend(context: &mut codec::Context) {
    if let Some(device) = device() {
        // SAFETY: the context is not open yet; it owns the new reference, and gives it back when it is freed. A null
        // reference (no memory) means no card.
        unsafe { (*context.as_mut_ptr()).hw_device_ctx = ffi::av_buffer_ref(device.context) };
    }
}

/// The picture in memory: itself, or a copy if it is on the card.
pub fn fetch(picture: frame::Video) -> Result<frame::Video, ffmpeg::Error> {
    // SAFETY: a plain field of a frame that its owner keeps.
    if unsafe { (*picture.as_ptr()).hw_frames_ctx.is_null() } {
        return Ok(picture);
    }
    let mut copy = frame::Video::empty();
    // SAFETY: both frames are valid; the copy is empty, so FFmpeg gives it memory and a format of its choice.
    let result = unsafe {
        match ffi::av_hwframe_transfer_data(copy.as_mut_ptr(), picture.as_ptr(), 0) {
            0 => ffi::av_frame_copy_props(copy.as_mut_ptr(), picture.as_ptr()),
            error => error,
        }
    };
    if result < 0 { Err(ffmpeg::Error::from(result)) } else { Ok(copy) }
}
