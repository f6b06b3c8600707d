//! What libobs calls for a source: read the settings, call one method, answer.

use super::module::{ask_for_slots, slots, text};
use super::sink::ObsSource;
use super::{c_string, guard, log, obs};
use crate::settings::{Away, Wishes};
use crate::source::Source;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

/// What libobs holds for us: made by `create`, ended by `destroy`.
struct Instance {
    source: Source,
    raw: *mut obs::obs_source_t,
}

pub(super) fn register() {
    // SAFETY: all zeros is a valid description (numbers, null pointers and no callbacks).
    let mut info: obs::obs_source_info = unsafe { std::mem::zeroed() };
    info.id = c"greenroom_guest_source".as_ptr();
    info.type_ = obs::obs_source_type::OBS_SOURCE_TYPE_INPUT;
    info.output_flags =
        obs::OBS_SOURCE_ASYNC_VIDEO | obs::OBS_SOURCE_AUDIO | obs::OBS_SOURCE_DO_NOT_DUPLICATE;
    info.icon_type = obs::obs_icon_type::OBS_ICON_TYPE_CAMERA;
    info.get_name = Some(name);
    info.create = Some(create);
    info.destroy = Some(destroy);
    info.get_defaults = Some(defaults);
    info.get_properties = Some(properties);
    info.update = Some(update);
    info.show = Some(show);
    info.hide = Some(hide);
    info.save = Some(save);
    info.load = Some(load);
    // SAFETY: libobs copies the description; its strings and functions are static.
    unsafe { obs::obs_register_source_s(&info, size_of::<obs::obs_source_info>()) };
}

unsafe extern "C" fn name(_: *mut c_void) -> *const c_char {
    guard(c"Greenroom Guest".as_ptr(), || text(c"Source.Name"))
}

unsafe extern "C" fn create(settings: *mut obs::obs_data_t, raw: *mut obs::obs_source_t) -> *mut c_void {
    guard(null_mut(), || {
        let (slot, away, audio) = Settings(settings).read();
        let wishes = Wishes { slot, away, audio, shown: false };
        ask_for_slots();
        match Source::start(wishes, ObsSource::new(raw)) {
            Ok(source) => Box::into_raw(Box::new(Instance { source, raw })).cast(),
            Err(error) => {
                log(&format!("a source cannot start: {error}"));
                null_mut()
            }
        }
    })
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
            let (slot, away, audio) = Settings(settings).read();
            instance.source.board.set(slot, away, audio);
        }
    });
}

unsafe extern "C" fn show(data: *mut c_void) {
    guard((), || instance(data).into_iter().for_each(|it| it.source.board.set_shown(true)));
}

unsafe extern "C" fn hide(data: *mut c_void) {
    guard((), || instance(data).into_iter().for_each(|it| it.source.board.set_shown(false)));
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
        // SAFETY: libobs gives valid settings; it copies the strings.
        unsafe {
            obs::obs_data_set_default_int(settings, SLOT.as_ptr(), 1);
            obs::obs_data_set_default_string(settings, AWAY.as_ptr(), c_string(Away::Slate.key()).as_ptr());
            obs::obs_data_set_default_bool(settings, AUDIO.as_ptr(), true);
        }
    });
}

/// `data` is null when somebody asks for a source that does not exist yet.
unsafe extern "C" fn properties(data: *mut c_void) -> *mut obs::obs_properties_t {
    guard(null_mut(), || {
        use obs::{obs_combo_format as format, obs_combo_type as combo};
        // SAFETY: the properties are new and ours until returned; libobs copies all strings; `text` is never null.
        unsafe {
            let all = obs::obs_properties_create();
            let slot = obs::obs_properties_add_list(
                all,
                SLOT.as_ptr(),
                text(c"Slot"),
                combo::OBS_COMBO_TYPE_LIST,
                format::OBS_COMBO_FORMAT_INT,
            );
            obs::obs_property_set_long_description(slot, text(c"Slot.Description"));
            fill(slot, data);
            obs::obs_properties_add_button2(all, c"refresh".as_ptr(), text(c"Refresh"), Some(refresh), data);
            let away = obs::obs_properties_add_list(
                all,
                AWAY.as_ptr(),
                text(c"Away"),
                combo::OBS_COMBO_TYPE_LIST,
                format::OBS_COMBO_FORMAT_STRING,
            );
            obs::obs_property_set_long_description(away, text(c"Away.Description"));
            for choice in Away::ALL {
                let label = match choice {
                    Away::Hold => text(c"Away.Hold"),
                    Away::Slate => text(c"Away.Slate"),
                    Away::Transparent => text(c"Away.Transparent"),
                };
                obs::obs_property_list_add_string(away, label, c_string(choice.key()).as_ptr());
            }
            obs::obs_properties_add_bool(all, AUDIO.as_ptr(), text(c"Audio"));
            all
        }
    })
}

/// The button: fills the list with what is known now, without asking anybody. True: draw the dialog anew.
unsafe extern "C" fn refresh(
    all: *mut obs::obs_properties_t,
    _: *mut obs::obs_property_t,
    data: *mut c_void,
) -> bool {
    guard(false, || {
        // SAFETY: libobs passes the properties that the button belongs to.
        let slot = unsafe { obs::obs_properties_get(all, SLOT.as_ptr()) };
        if slot.is_null() {
            return false;
        }
        fill(slot, data);
        true
    })
}

fn fill(list: *mut obs::obs_property_t, data: *mut c_void) {
    let chosen = instance(data).map_or(1, |instance| instance.source.board.wishes().slot);
    // SAFETY: a list of ours (see the callers); libobs copies the label.
    unsafe {
        obs::obs_property_list_clear(list);
        for info in slots(chosen) {
            obs::obs_property_list_add_int(list, c_string(&info.label()).as_ptr(), info.slot.into());
        }
    }
}

fn instance<'a>(data: *mut c_void) -> Option<&'a Instance> {
    // SAFETY: null, or from `create` and not yet destroyed; never borrowed mutably.
    unsafe { data.cast::<Instance>().as_ref() }
}

/// Settings as libobs keeps them.
struct Settings(*mut obs::obs_data_t);

impl Settings {
    /// Slot, away picture, sound; whatever stands there, something sensible comes out.
    fn read(&self) -> (u8, Away, bool) {
        let slot = u8::try_from(self.int(SLOT)).unwrap_or(1).max(1);
        // SAFETY: libobs's settings and a static key; the string is never null and read at once.
        let (away, audio) = unsafe {
            let away = CStr::from_ptr(obs::obs_data_get_string(self.0, AWAY.as_ptr()));
            (Away::from_key(&away.to_string_lossy()), obs::obs_data_get_bool(self.0, AUDIO.as_ptr()))
        };
        (slot, away, audio)
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

const SLOT: &CStr = c"slot";
const AWAY: &CStr = c"away";
const AUDIO: &CStr = c"audio";
const TRACKS: &CStr = c"tracks";
const ALL_TRACKS: u32 = 0xff;
