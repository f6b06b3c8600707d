//! The border to libobs: the only place with `unsafe`, and nothing clever in it.
//!
//! What every block here relies on: libobs calls back with pointers it or we made, as its headers promise; it
//! calls `destroy` once and uses nothing of the source afterwards; and it copies what it is given before a call
//! returns. No callback unwinds ([`guard`]), and none takes `&mut`: libobs calls from several threads.
#![allow(unsafe_code)]

#[allow(non_camel_case_types, non_upper_case_globals, dead_code, clippy::all)]
mod bindings;
mod callbacks;
mod drawn;
mod module;
mod properties;
mod sink;

use bindings as obs;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `f` returns, or `otherwise` if it panics: no panic of ours may unwind into C.
fn guard<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(otherwise)
}

/// A line in OBS's log.
fn log(text: &str) {
    let text = c_string(text);
    // SAFETY: the format asks for one string and is given one.
    unsafe { obs::blog(obs::_bindgen_ty_1::LOG_INFO as i32, c"[Greenroom] %s".as_ptr(), text.as_ptr()) };
}

/// For C: up to the first NUL, of which we send none.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}
