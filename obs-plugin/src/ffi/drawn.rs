//! How large the scenes draw a source.

use super::{guard, obs};
use std::ffi::c_void;

/// How high the largest of the scenes' items draws `source`, in pixels of the canvas; 0: not known.
///
/// Called on libobs's graphics thread between two frames. A scene is locked as long as it is being drawn, so that another thread would
/// have to wait for the whole of a frame.
pub(super) fn height(source: *mut obs::obs_source_t) -> u16 {
    let mut scenes: Vec<*mut obs::obs_source_t> = Vec::new();
    // SAFETY: the callback fits what it is given; each scene is kept alive by a reference of ours. Nothing is
    // asked of a scene while libobs holds the lock on the list of them.
    unsafe { obs::obs_enum_scenes(Some(keep), (&raw mut scenes).cast()) };
    let mut search = Search { source, height: 0, unbounded: false };
    for scene in scenes {
        // SAFETY: as above; the reference is given back once.
        unsafe {
            if obs::obs_source_showing(scene) {
                let items = obs::obs_scene_from_source(scene);
                obs::obs_scene_enum_items(items, Some(measure), (&raw mut search).cast());
            }
            obs::obs_source_release(scene);
        }
    }
    if search.unbounded { 0 } else { search.height }
}

/// Where a source is drawn. In a group, or full screen on another monitor, it is not found.
struct Search {
    source: *mut obs::obs_source_t,
    height: u16,
    /// Some item is as large as its picture: then a smaller picture would be a smaller item.
    unbounded: bool,
}

unsafe extern "C" fn keep(scenes: *mut c_void, scene: *mut obs::obs_source_t) -> bool {
    guard(false, || {
        // SAFETY: the list of `height`, borrowed there while libobs calls this.
        let scenes = unsafe { &mut *scenes.cast::<Vec<*mut obs::obs_source_t>>() };
        // SAFETY: libobs's scene; null if it is being destroyed.
        let kept = unsafe { obs::obs_source_get_ref(scene) };
        scenes.extend(Some(kept).filter(|kept| !kept.is_null()));
        true
    })
}

unsafe extern "C" fn measure(
    _: *mut obs::obs_scene_t,
    item: *mut obs::obs_sceneitem_t,
    search: *mut c_void,
) -> bool {
    guard(false, || {
        // SAFETY: the search of `height`, borrowed there while libobs calls this.
        let search = unsafe { &mut *search.cast::<Search>() };
        // SAFETY: an item of the scene that libobs has locked; the size is written to a local.
        unsafe {
            if obs::obs_sceneitem_get_source(item) != search.source || !obs::obs_sceneitem_visible(item) {
                return true;
            }
            use obs::obs_bounds_type::{OBS_BOUNDS_SCALE_INNER, OBS_BOUNDS_SCALE_OUTER, OBS_BOUNDS_STRETCH};
            match obs::obs_sceneitem_get_bounds_type(item) {
                OBS_BOUNDS_STRETCH | OBS_BOUNDS_SCALE_INNER | OBS_BOUNDS_SCALE_OUTER => {
                    let mut bounds: obs::vec2 = std::mem::zeroed();
                    obs::obs_sceneitem_get_bounds(item, &mut bounds);
                    let [_, height] = bounds.__bindgen_anon_1.ptr;
                    search.height = search.height.max(height.ceil() as u16);
                }
                _ => search.unbounded = true,
            }
        }
        true
    })
}
