//! The way into libobs for one source's pictures and sound.

use super::{c_string, obs};
use crate::reader::{Picture, Sink, Sound};
use crate::slate::Image;
use crate::timing::Canvas;
use frame_ipc::{Matrix, PixelFormat};
use std::cell::Cell;
use std::ptr::null;

/// A source of libobs's, not owned: whoever holds this must be gone before libobs's `destroy` returns, as the
/// thread of [`crate::source::Source`] is.
pub(super) struct ObsSource {
    source: *mut obs::obs_source_t,
    degrees: Cell<u16>,
}

// SAFETY: libobs lets any thread output to a source; the pointer is valid until `destroy` returns.
unsafe impl Send for ObsSource {}

impl ObsSource {
    pub(super) fn new(source: *mut obs::obs_source_t) -> Self {
        // SAFETY: called from `create`, with the source being created.
        unsafe {
            // The newest picture at once, instead of a queue that follows the timestamps.
            obs::obs_source_set_async_unbuffered(source, true);
            obs::obs_source_set_async_decoupled(source, false);
        }
        Self { source, degrees: Cell::new(0) }
    }

    fn turn(&self, degrees: u16) {
        if self.degrees.replace(degrees) != degrees {
            // SAFETY: see `Send`. libobs turns the other way round: counter-clockwise.
            unsafe { obs::obs_source_set_async_rotation(self.source, ((360 - degrees) % 360).into()) };
        }
    }
}

impl Sink for ObsSource {
    fn picture(&self, picture: &Picture<'_>) {
        self.turn(picture.rotation.degrees());
        let format = match picture.format {
            PixelFormat::I420 => obs::video_format::VIDEO_FORMAT_I420,
            PixelFormat::Nv12 => obs::video_format::VIDEO_FORMAT_NV12,
        };
        let range = match picture.full_range {
            true => obs::video_range_type::VIDEO_RANGE_FULL,
            false => obs::video_range_type::VIDEO_RANGE_PARTIAL,
        };
        let colours = match picture.matrix {
            Matrix::Bt601 => obs::video_colorspace::VIDEO_CS_601,
            Matrix::Bt709 => obs::video_colorspace::VIDEO_CS_709,
        };
        // SAFETY: all zeros is a valid frame (plain numbers, null pointers).
        let mut frame: obs::obs_source_frame2 = unsafe { std::mem::zeroed() };
        for (i, (plane, stride)) in
            picture.planes.iter().enumerate().filter(|(_, (plane, _))| !plane.is_empty())
        {
            frame.data[i] = plane.as_ptr().cast_mut();
            frame.linesize[i] = *stride;
        }
        frame.width = picture.width;
        frame.height = picture.height;
        frame.timestamp = picture.timestamp_ns;
        frame.format = format;
        frame.range = range;
        // SAFETY: the three arrays are as long as libobs's declaration of the frame. libobs copies the planes and
        // never writes to them; `frame_ipc` has checked that they are as long as the geometry says, and their memory cannot
        // vanish, though the host may write into it: then what libobs has copied is not shown for longer than until the next picture.
        unsafe {
            obs::video_format_get_parameters_for_format(
                colours,
                range,
                format,
                frame.color_matrix.as_mut_ptr(),
                frame.color_range_min.as_mut_ptr(),
                frame.color_range_max.as_mut_ptr(),
            );
            obs::obs_source_output_video2(self.source, &frame);
        }
    }

    fn blank(&self) {
        // SAFETY: null is libobs's way of saying "no picture".
        unsafe { obs::obs_source_output_video2(self.source, null()) };
    }

    fn sound(&self, sound: &Sound<'_>) {
        let speakers = match sound.channels {
            1 => obs::speaker_layout::SPEAKERS_MONO,
            2 => obs::speaker_layout::SPEAKERS_STEREO,
            3 => obs::speaker_layout::SPEAKERS_2POINT1,
            4 => obs::speaker_layout::SPEAKERS_4POINT0,
            5 => obs::speaker_layout::SPEAKERS_4POINT1,
            6 => obs::speaker_layout::SPEAKERS_5POINT1,
            8 => obs::speaker_layout::SPEAKERS_7POINT1,
            // libobs knows no other layout.
            _ => return,
        };
        // SAFETY: as for the frame.
        let mut audio: obs::obs_source_audio = unsafe { std::mem::zeroed() };
        for (i, data) in audio.data.iter_mut().enumerate().take(sound.channels) {
            let samples = sound.line.samples(i);
            if samples.len() != sound.frames {
                return;
            }
            *data = samples.as_ptr().cast();
        }
        audio.frames = sound.frames as u32;
        audio.speakers = speakers;
        audio.format = obs::audio_format::AUDIO_FORMAT_FLOAT_PLANAR;
        audio.samples_per_sec = sound.sample_rate;
        audio.timestamp = sound.play_at_ns;
        // SAFETY: each plane has `frames` samples, checked above; libobs copies them.
        unsafe { obs::obs_source_output_audio(self.source, &audio) };
    }

    fn canvas(&self) -> Canvas {
        // SAFETY: two questions without arguments; before there is a canvas the answers are 0.
        let (tick_ns, frame_ns) =
            unsafe { (obs::obs_get_video_frame_time(), obs::obs_get_frame_interval_ns()) };
        Canvas { tick_ns, frame_ns }
    }

    fn load_image(&self, path: &str) -> Option<Image> {
        use obs::gs_color_format::{GS_BGRA, GS_BGRX, GS_RGBA};
        let (mut format, mut width, mut height) = (0, 0, 0);
        // SAFETY: libobs reads the file and needs no graphics for that; it fills in the three and returns its own
        // memory, four bytes to a pixel for the formats asked for below, or null.
        let data = unsafe {
            obs::gs_create_texture_file_data2(
                c_string(path).as_ptr(),
                obs::gs_image_alpha_mode::GS_IMAGE_ALPHA_STRAIGHT,
                &mut format,
                &mut width,
                &mut height,
            )
        };
        if data.is_null() {
            return None;
        }
        let (width, height) = (width as usize, height as usize);
        let known = [GS_RGBA, GS_BGRA, GS_BGRX].contains(&format) && width > 0 && height > 0;
        let bytes = width.checked_mul(height).and_then(|n| n.checked_mul(4)).filter(|_| known);
        let rgba = bytes.map(|bytes| {
            // SAFETY: see above.
            let mut rgba = unsafe { std::slice::from_raw_parts(data, bytes) }.to_vec();
            for pixel in rgba.as_chunks_mut::<4>().0 {
                if format != GS_RGBA {
                    pixel.swap(0, 2);
                }
                if format == GS_BGRX {
                    pixel[3] = 255;
                }
            }
            rgba
        });
        // SAFETY: libobs made it for us to free.
        unsafe { obs::bfree(data.cast()) };
        Some(Image { width, height, rgba: rgba? })
    }

    fn log(&self, text: &str) {
        super::log(text);
    }
}
