//! What libobs calls for a source: read the settings, call one method, answer.

use super::module::{ask_for_slots, text};
use super::properties::{self, AWAY, CARD_COLOUR, HOLD, SENSITIVITY, SHOW, SLOT};
use super::sink::ObsSource;
use super::{c_string, drawn, guard, log, obs};
use crate::settings::{Away, Choice, GROUND, Raw, Wishes};
use crate::source::Source;
use frame_ipc::now_ns;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

/// What libobs holds for us: made by `create`, ended by `destroy`.
pub(super) struct Instance {
    pub source: Source,
    raw: *mut obs::obs_source_t,
    kind: Kind,
    /// When to look again how large it is drawn. Only the graphics thread reads it.
    measure_at_ns: AtomicU64,
}

/// Our two kinds of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Guest,
    /// Their sound alone, for a track of its own.
    Sound,
}

pub(super) fn register() {
    for kind in [Kind::Guest, Kind::Sound] {
        // SAFETY: all zeros is a valid description (numbers, null pointers and no callbacks).
        let mut info: obs::obs_source_info = unsafe { std::mem::zeroed() };
        info.type_ = obs::obs_source_type::OBS_SOURCE_TYPE_INPUT;
        info.output_flags = obs::OBS_SOURCE_AUDIO | obs::OBS_SOURCE_DO_NOT_DUPLICATE;
        info.get_defaults = Some(defaults);
        info.destroy = Some(destroy);
        info.update = Some(update);
        info.save = Some(save);
        info.load = Some(load);
        match kind {
            Kind::Guest => {
                info.id = c"greenroom_guest_source".as_ptr();
                info.output_flags |= obs::OBS_SOURCE_ASYNC_VIDEO;
                info.icon_type = obs::obs_icon_type::OBS_ICON_TYPE_CAMERA;
                info.get_name = Some(guest_name);
                info.create = Some(create_guest);
                info.get_properties = Some(guest_properties);
                info.show = Some(show);
                info.hide = Some(hide);
                info.video_tick = Some(tick);
                info.activate = Some(activate);
                info.deactivate = Some(deactivate);
            }
            Kind::Sound => {
                info.id = c"greenroom_guest_sound".as_ptr();
                info.icon_type = obs::obs_icon_type::OBS_ICON_TYPE_AUDIO_INPUT;
                info.get_name = Some(sound_name);
                info.create = Some(create_sound);
                info.get_properties = Some(sound_properties);
            }
        }
        // SAFETY: libobs copies the description; its strings and functions are static.
        unsafe { obs::obs_register_source_s(&info, size_of::<obs::obs_source_info>()) };
    }
}

unsafe extern "C" fn guest_name(_: *mut c_void) -> *const c_char {
    guard(c"Greenroom Guest".as_ptr(), || text(c"Source.Name"))
}

unsafe extern "C" fn sound_name(_: *mut c_void) -> *const c_char {
    guard(c"Greenroom Guest Sound".as_ptr(), || text(c"Sound.Name"))
}

unsafe extern "C" fn create_guest(
    settings: *mut obs::obs_data_t,
    raw: *mut obs::obs_source_t,
) -> *mut c_void {
    guard(null_mut(), || create(Kind::Guest, settings, raw))
}

unsafe extern "C" fn create_sound(
    settings: *mut obs::obs_data_t,
    raw: *mut obs::obs_source_t,
) -> *mut c_void {
    guard(null_mut(), || create(Kind::Sound, settings, raw))
}

fn create(kind: Kind, settings: *mut obs::obs_data_t, raw: *mut obs::obs_source_t) -> *mut c_void {
    ask_for_slots();
    match Source::start(Settings(settings).wishes(kind), ObsSource::new(raw)) {
        Ok(source) => {
            let measure_at_ns = AtomicU64::new(0);
            Box::into_raw(Box::new(Instance { source, raw, kind, measure_at_ns })).cast()
        }
        Err(error) => {
            log(&format!("a source cannot start: {error}"));
            null_mut()
        }
    }
}

unsafe extern "C" fn destroy(data: *mut c_void) {
    guard((), || {
        if !data.is_null() {
            // SAFETY: from `create`, and libobs destroys a source once.
            drop(unsafe { Box::from_raw(data.cast::<Instance>()) });
        }
    });
}

unsafe extern "C" fn update(data: *mut c_void, settings: *mut obs::obs_data_t) {
    guard((), || {
        if let Some(instance) = instance(data) {
            let wishes = Settings(settings).wishes(instance.kind);
            if !instance.source.board.set(wishes) {
                log("too many changes of a source at once; the last one was not followed");
            }
        }
    });
}

unsafe extern "C" fn show(data: *mut c_void) {
    guard((), || {
        if let Some(instance) = instance(data) {
            instance.measure_at_ns.store(0, Ordering::Relaxed);
            instance.source.board.set_shown(true);
        }
    });
}

unsafe extern "C" fn hide(data: *mut c_void) {
    guard((), || instance(data).into_iter().for_each(|it| it.source.board.set_shown(false)));
}

/// Before each frame, on the graphics thread.
unsafe extern "C" fn tick(data: *mut c_void, _seconds: f32) {
    guard((), || {
        let Some(instance) = instance(data) else { return };
        let (board, now) = (&instance.source.board, now_ns());
        if board.look().is_shown() && now >= instance.measure_at_ns.load(Ordering::Relaxed) {
            instance.measure_at_ns.store(now + MEASURE_EVERY_NS, Ordering::Relaxed);
            board.set_height(drawn::height(instance.raw));
        }
    });
}

unsafe extern "C" fn activate(data: *mut c_void) {
    guard((), || instance(data).into_iter().for_each(|it| it.source.board.set_active(true)));
}

unsafe extern "C" fn deactivate(data: *mut c_void) {
    guard((), || instance(data).into_iter().for_each(|it| it.source.board.set_active(false)));
}

/// OBS started without this plugin saves the source as silent on every track. So the tracks are noted here too:
/// if OBS then brings back none where there were some, it was not the streamer's choice.
unsafe extern "C" fn save(data: *mut c_void, settings: *mut obs::obs_data_t) {
    guard((), || {
        if let Some(instance) = instance(data) {
            // SAFETY: the source lives until `destroy`.
            let tracks = unsafe { obs::obs_source_get_audio_mixers(instance.raw) };
            Settings(settings).set_int(TRACKS, tracks.into());
        }
    });
}

unsafe extern "C" fn load(data: *mut c_void, settings: *mut obs::obs_data_t) {
    guard((), || {
        let Some(instance) = instance(data) else { return };
        // SAFETY: the source lives until `destroy`.
        if unsafe { obs::obs_source_get_audio_mixers(instance.raw) } != 0 {
            return;
        }
        let settings = Settings(settings);
        let noted = settings.has(TRACKS).then(|| settings.int(TRACKS));
        let tracks = noted.and_then(|tracks| u32::try_from(tracks).ok()).unwrap_or(ALL_TRACKS);
        if tracks != 0 {
            log("the sound of a guest was off since OBS ran without Greenroom; it is on again");
            // SAFETY: as above.
            unsafe { obs::obs_source_set_audio_mixers(instance.raw, tracks) };
        }
    });
}

unsafe extern "C" fn defaults(settings: *mut obs::obs_data_t) {
    guard((), || {
        let [red, green, blue] = GROUND;
        let ground = u32::from_le_bytes([red, green, blue, 0xff]);
        // SAFETY: libobs gives valid settings; it copies the strings.
        unsafe {
            let string = |key: &CStr, value| {
                obs::obs_data_set_default_string(settings, key.as_ptr(), c_string(value).as_ptr());
            };
            let int = |key: &CStr, value: i64| obs::obs_data_set_default_int(settings, key.as_ptr(), value);
            string(SHOW, Choice::Slot.key());
            int(SLOT, 1);
            int(SENSITIVITY, 1);
            int(HOLD, 2_000);
            string(AWAY, Away::Slate.key());
            int(CARD_COLOUR, ground.into());
            obs::obs_data_set_default_bool(settings, properties::AUDIO.as_ptr(), true);
        }
    });
}

/// `data` is null when somebody asks for a source that does not exist yet.
unsafe extern "C" fn guest_properties(data: *mut c_void) -> *mut obs::obs_properties_t {
    guard(null_mut(), || properties::of(Kind::Guest, data))
}

unsafe extern "C" fn sound_properties(data: *mut c_void) -> *mut obs::obs_properties_t {
    guard(null_mut(), || properties::of(Kind::Sound, data))
}

pub(super) fn instance<'a>(data: *mut c_void) -> Option<&'a Instance> {
    // SAFETY: null, or from `create` and not yet destroyed; never borrowed mutably.
    unsafe { data.cast::<Instance>().as_ref() }
}

/// Settings as libobs keeps them.
pub(super) struct Settings(pub *mut obs::obs_data_t);

impl Settings {
    fn wishes(&self, kind: Kind) -> Wishes {
        let choice = self.choice();
        let raw = Raw {
            choice: match (kind, choice) {
                // Of these there is no sound.
                (Kind::Sound, Choice::Speaker | Choice::Screen) => Choice::Slot,
                _ => choice,
            },
            slot: self.int(SLOT),
            person: self.string(properties::PERSON),
            sensitivity: self.int(SENSITIVITY),
            hold_ms: self.int(HOLD),
            stand_in: self.int(properties::STAND_IN),
            away: Away::from_key(&self.string(AWAY)),
            away_after: self.int(properties::AWAY_AFTER),
            ground: self.int(CARD_COLOUR),
            image: self.string(properties::CARD_IMAGE),
            audio: kind == Kind::Sound || self.bool(properties::AUDIO),
        };
        raw.wishes(kind == Kind::Guest)
    }

    pub(super) fn choice(&self) -> Choice {
        Choice::from_key(&self.string(SHOW))
    }

    pub(super) fn string(&self, key: &CStr) -> String {
        // SAFETY: libobs's settings and a static key; the string is never null and read at once.
        unsafe {
            CStr::from_ptr(obs::obs_data_get_string(self.0, key.as_ptr())).to_string_lossy().into_owned()
        }
    }

    fn bool(&self, key: &CStr) -> bool {
        // SAFETY: libobs's settings and a static key.
        unsafe { obs::obs_data_get_bool(self.0, key.as_ptr()) }
    }

    fn int(&self, key: &CStr) -> i64 {
        // SAFETY: libobs's settings and a static key.
        unsafe { obs::obs_data_get_int(self.0, key.as_ptr()) }
    }

    fn has(&self, key: &CStr) -> bool {
        // SAFETY: libobs's settings and a static key.
        unsafe { obs::obs_data_has_user_value(self.0, key.as_ptr()) }
    }

    fn set_int(&self, key: &CStr, value: i64) {
        // SAFETY: libobs's settings and a static key.
        unsafe { obs::obs_data_set_int(self.0, key.as_ptr(), value) };
    }
}

const MEASURE_EVERY_NS: u64 = 1_000_000_000;
const TRACKS: &CStr = c"tracks";
const ALL_TRACKS: u32 = 0xff;
