#![no_main]

libfuzzer_sys::fuzz_target!(init: greenroom_fuzz::quiet(), |data: &[u8]| greenroom_fuzz::run(signaling::fuzzing::TARGETS, "packets", data));
