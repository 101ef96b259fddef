//! See `vm_fuzz::file_actions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vm_fuzz::file_actions(data));
