//! What OBS looks up by name in the plugin: loading, unloading, the version, the words.

use super::{callbacks, guard, log, obs};
use crate::directory::Directory;
use frame_ipc::SlotInfo;
use std::ffi::{CStr, c_char};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

static MODULE: AtomicPtr<obs::obs_module_t> = AtomicPtr::new(null_mut());
static WORDS: AtomicPtr<obs::lookup_t> = AtomicPtr::new(null_mut());
/// From load to unload. A lock, because unloading must end it; held for a clone.
static DIRECTORY: Mutex<Option<Arc<Directory>>> = Mutex::new(None);

#[unsafe(no_mangle)]
extern "C" fn obs_module_set_pointer(module: *mut obs::obs_module_t) {
    MODULE.store(module, Ordering::Relaxed);
}

#[unsafe(no_mangle)]
extern "C" fn obs_current_module() -> *mut obs::obs_module_t {
    MODULE.load(Ordering::Relaxed)
}

/// The version the bindings were made from. OBS 32 and later refuse a plugin made for a newer one.
#[unsafe(no_mangle)]
extern "C" fn obs_module_ver() -> u32 {
    obs::LIBOBS_API_MAJOR_VER << 24 | obs::LIBOBS_API_MINOR_VER << 16 | obs::LIBOBS_API_PATCH_VER
}

#[unsafe(no_mangle)]
extern "C" fn obs_module_name() -> *const c_char {
    c"Greenroom".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn obs_module_description() -> *const c_char {
    c"Remote guests as sources".as_ptr()
}

/// Not libobs's: lets the app see which plugin it finds.
#[unsafe(no_mangle)]
extern "C" fn greenroom_plugin_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[unsafe(no_mangle)]
extern "C" fn obs_module_load() -> bool {
    guard(false, || {
        callbacks::register();
        match Directory::start() {
            Ok(directory) => *slots_of() = Some(Arc::new(directory)),
            Err(error) => log(&format!("the list of guests will be empty: {error}")),
        }
        // SAFETY: libobs returns a string that lives as long as it.
        let host = unsafe { CStr::from_ptr(obs::obs_get_version_string()) };
        log(&format!("version {} in OBS {}", crate::VERSION, host.to_string_lossy()));
        true
    })
}

#[unsafe(no_mangle)]
extern "C" fn obs_module_unload() {
    guard((), || {
        let directory = slots_of().take();
        drop(directory);
    });
}

#[unsafe(no_mangle)]
extern "C" fn obs_module_set_locale(locale: *const c_char) {
    guard((), || {
        // SAFETY: our own module, a locale's name from libobs, a static string; the words may be null.
        let words = unsafe { obs::obs_module_load_locale(obs_current_module(), c"en-US".as_ptr(), locale) };
        free(WORDS.swap(words, Ordering::AcqRel));
    });
}

#[unsafe(no_mangle)]
extern "C" fn obs_module_free_locale() {
    guard((), || free(WORDS.swap(null_mut(), Ordering::AcqRel)));
}

#[unsafe(no_mangle)]
extern "C" fn obs_module_get_string(key: *const c_char, out: *mut *const c_char) -> bool {
    let words = WORDS.load(Ordering::Acquire);
    // SAFETY: both strings are libobs's; it calls this only between set_locale and free_locale.
    !words.is_null() && unsafe { obs::text_lookup_getstr(words, key, out) }
}

/// The words for `key` in the streamer's language, or the key itself.
pub(super) fn text(key: &'static CStr) -> *const c_char {
    let mut out = key.as_ptr();
    obs_module_get_string(key.as_ptr(), &mut out);
    out
}

/// A source was made: its dialog may open next.
pub(super) fn ask_for_slots() {
    if let Some(directory) = slots_of().clone() {
        directory.ask();
    }
}

/// The slots to choose from.
pub(super) fn slots(chosen: u8) -> Vec<SlotInfo> {
    let directory = slots_of().clone();
    directory.map(|directory| directory.slots(chosen)).unwrap_or_default()
}

fn slots_of() -> std::sync::MutexGuard<'static, Option<Arc<Directory>>> {
    DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn free(words: *mut obs::lookup_t) {
    if !words.is_null() {
        // SAFETY: made by `obs_module_load_locale`, and swapped out of `WORDS`: nobody else frees it.
        unsafe { obs::text_lookup_destroy(words) };
    }
}
