//! What the tests of the worker share: a camera, a microphone, a guest with a camera, the engine's end, and a viewer.
#![allow(dead_code)]

pub mod camera;
pub mod engine;
pub mod guest;
pub mod microphone;
pub mod show;
