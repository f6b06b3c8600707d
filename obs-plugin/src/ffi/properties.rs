//! The dialog of a source: which choices there are, and which of them belong to what was chosen.

use super::callbacks::{Kind, Settings, instance};
use super::module::{slots, text};
use super::{c_string, guard, obs};
use crate::settings::{Away, Choice, MAX_AWAY_AFTER, MAX_HOLD_MS};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null;

/// The properties of a source; `data` is its instance, or null.
pub(super) fn of(kind: Kind, data: *mut c_void) -> *mut obs::obs_properties_t {
    // SAFETY: the properties are new and ours until returned.
    let dialog = unsafe { Dialog(obs::obs_properties_create()) };
    dialog.subject(kind, data);
    if kind == Kind::Guest {
        dialog.away();
        dialog.switch(AUDIO, text(c"Audio"));
    }
    dialog.0
}

/// A dialog being made. libobs copies every string, and `text` is never null.
struct Dialog(*mut obs::obs_properties_t);

impl Dialog {
    fn subject(&self, kind: Kind, data: *mut c_void) {
        use obs::obs_combo_type::{OBS_COMBO_TYPE_EDITABLE, OBS_COMBO_TYPE_LIST};
        let show = self.list(SHOW, text(c"Show"), OBS_COMBO_TYPE_LIST, STRING);
        explain(show, text(c"Show.Description"));
        for choice in Choice::ALL {
            let label = match (choice, kind) {
                (Choice::Slot, _) => text(c"Show.Slot"),
                (Choice::Person, _) => text(c"Show.Person"),
                (_, Kind::Sound) => continue,
                (Choice::Speaker, _) => text(c"Show.Speaker"),
                (Choice::Screen, _) => text(c"Show.Screen"),
            };
            add_string(show, label, choice.key());
        }
        // SAFETY: a property of ours and a static function.
        unsafe { obs::obs_property_set_modified_callback(show, Some(chosen)) };
        let slot = self.list(SLOT, text(c"Slot"), OBS_COMBO_TYPE_LIST, INT);
        explain(slot, text(c"Slot.Description"));
        let person = self.list(PERSON, text(c"Person"), OBS_COMBO_TYPE_EDITABLE, STRING);
        explain(person, text(c"Person.Description"));
        let stand_in = self.list(STAND_IN, text(c"StandIn"), OBS_COMBO_TYPE_LIST, INT);
        explain(stand_in, text(c"StandIn.Description"));
        fill([slot, person, stand_in], data);
        // SAFETY: as for the dialog.
        unsafe {
            obs::obs_properties_add_button2(
                self.0,
                c"refresh".as_ptr(),
                text(c"Refresh"),
                Some(refresh),
                data,
            );
        }
        if kind == Kind::Guest {
            let sensitivity = self.list(SENSITIVITY, text(c"Sensitivity"), OBS_COMBO_TYPE_LIST, INT);
            explain(sensitivity, text(c"Sensitivity.Description"));
            for (value, label) in
                (0..).zip([text(c"Sensitivity.Low"), text(c"Sensitivity.Normal"), text(c"Sensitivity.High")])
            {
                // SAFETY: a list of ours; libobs copies the label.
                unsafe { obs::obs_property_list_add_int(sensitivity, label, value) };
            }
            let hold = self.number(HOLD, text(c"Hold"), MAX_HOLD_MS as i32, 250, c" ms");
            explain(hold, text(c"Hold.Description"));
        }
    }

    fn away(&self) {
        let away = self.list(AWAY, text(c"Away"), obs::obs_combo_type::OBS_COMBO_TYPE_LIST, STRING);
        explain(away, text(c"Away.Description"));
        for choice in Away::ALL {
            let label = match choice {
                Away::Hold => text(c"Away.Hold"),
                Away::Slate => text(c"Away.Slate"),
                Away::Transparent => text(c"Away.Transparent"),
            };
            add_string(away, label, choice.key());
        }
        // SAFETY: a property of ours and a static function.
        unsafe { obs::obs_property_set_modified_callback(away, Some(chosen)) };
        let after = self.number(AWAY_AFTER, text(c"AwayAfter"), MAX_AWAY_AFTER as i32, 1, c" s");
        explain(after, text(c"AwayAfter.Description"));
        // SAFETY: as for the dialog.
        unsafe {
            obs::obs_properties_add_color(self.0, CARD_COLOUR.as_ptr(), text(c"CardColour"));
            let image = obs::obs_properties_add_path(
                self.0,
                CARD_IMAGE.as_ptr(),
                text(c"CardImage"),
                obs::obs_path_type::OBS_PATH_FILE,
                c"(*.png *.jpg *.jpeg *.bmp *.gif *.webp)".as_ptr(),
                null(),
            );
            explain(image, text(c"CardImage.Description"));
        }
    }

    fn list(&self, key: &CStr, label: *const c_char, of: u32, format: u32) -> *mut obs::obs_property_t {
        // SAFETY: as for the dialog.
        unsafe { obs::obs_properties_add_list(self.0, key.as_ptr(), label, of, format) }
    }

    fn number(
        &self,
        key: &CStr,
        label: *const c_char,
        most: i32,
        step: i32,
        suffix: &CStr,
    ) -> *mut obs::obs_property_t {
        // SAFETY: as for the dialog.
        unsafe {
            let number = obs::obs_properties_add_int(self.0, key.as_ptr(), label, 0, most, step);
            obs::obs_property_int_set_suffix(number, suffix.as_ptr());
            number
        }
    }

    fn switch(&self, key: &CStr, label: *const c_char) {
        // SAFETY: as for the dialog.
        unsafe { obs::obs_properties_add_bool(self.0, key.as_ptr(), label) };
    }
}

/// Shows what belongs to the choice. True: draw the dialog anew.
unsafe extern "C" fn chosen(
    all: *mut obs::obs_properties_t,
    _: *mut obs::obs_property_t,
    settings: *mut obs::obs_data_t,
) -> bool {
    guard(false, || {
        let settings = Settings(settings);
        let (choice, away) = (settings.choice(), Away::from_key(&settings.string(AWAY)));
        let slotted = choice == Choice::Slot;
        for (key, visible) in [
            (SLOT, slotted),
            (PERSON, choice == Choice::Person),
            (SENSITIVITY, choice == Choice::Speaker),
            (HOLD, choice == Choice::Speaker),
            (AUDIO, matches!(choice, Choice::Slot | Choice::Person)),
            (AWAY_AFTER, away != Away::Hold),
            (CARD_COLOUR, away == Away::Slate),
            (CARD_IMAGE, away == Away::Slate),
        ] {
            // SAFETY: libobs passes the properties that the list belongs to; a source of sound has not all of them.
            unsafe {
                let property = obs::obs_properties_get(all, key.as_ptr());
                if !property.is_null() {
                    obs::obs_property_set_visible(property, visible);
                }
            }
        }
        true
    })
}

/// The button: fills the lists with what is known now, without asking anybody. True: draw the dialog anew.
unsafe extern "C" fn refresh(
    all: *mut obs::obs_properties_t,
    _: *mut obs::obs_property_t,
    data: *mut c_void,
) -> bool {
    guard(false, || {
        // SAFETY: libobs passes the properties that the button belongs to.
        let lists = [SLOT, PERSON, STAND_IN].map(|key| unsafe { obs::obs_properties_get(all, key.as_ptr()) });
        if lists.iter().any(|list| list.is_null()) {
            return false;
        }
        fill(lists, data);
        true
    })
}

/// The slots, the people in them, and who might stand in.
fn fill([slot, person, stand_in]: [*mut obs::obs_property_t; 3], data: *mut c_void) {
    let chosen = instance(data).map_or(1, |instance| instance.source.board.slot());
    // SAFETY: lists of ours (see the callers); libobs copies the labels.
    unsafe {
        for list in [slot, person, stand_in] {
            obs::obs_property_list_clear(list);
        }
        obs::obs_property_list_add_int(stand_in, text(c"StandIn.None"), 0);
        for info in slots(chosen) {
            let label = c_string(&info.label());
            obs::obs_property_list_add_int(slot, label.as_ptr(), info.slot.into());
            obs::obs_property_list_add_int(stand_in, label.as_ptr(), info.slot.into());
            if let Some(name) = info.state.occupant.filter(|name| !name.is_empty()) {
                let name = c_string(&name);
                obs::obs_property_list_add_string(person, name.as_ptr(), name.as_ptr());
            }
        }
    }
}

fn explain(property: *mut obs::obs_property_t, words: *const c_char) {
    // SAFETY: a property of ours; libobs copies the words.
    unsafe { obs::obs_property_set_long_description(property, words) };
}

fn add_string(list: *mut obs::obs_property_t, label: *const c_char, value: &str) {
    // SAFETY: a list of ours; libobs copies both.
    unsafe { obs::obs_property_list_add_string(list, label, c_string(value).as_ptr()) };
}

const STRING: u32 = obs::obs_combo_format::OBS_COMBO_FORMAT_STRING;
const INT: u32 = obs::obs_combo_format::OBS_COMBO_FORMAT_INT;

// As they stand in scene collections: never rename.
pub(super) const SHOW: &CStr = c"show";
pub(super) const SLOT: &CStr = c"slot";
pub(super) const PERSON: &CStr = c"person";
pub(super) const SENSITIVITY: &CStr = c"sensitivity";
pub(super) const HOLD: &CStr = c"hold_ms";
pub(super) const STAND_IN: &CStr = c"stand_in";
pub(super) const AWAY: &CStr = c"away";
pub(super) const AWAY_AFTER: &CStr = c"away_after";
pub(super) const CARD_COLOUR: &CStr = c"card_colour";
pub(super) const CARD_IMAGE: &CStr = c"card_image";
pub(super) const AUDIO: &CStr = c"audio";
