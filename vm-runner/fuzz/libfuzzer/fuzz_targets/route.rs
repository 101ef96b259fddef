//! See `vm_fuzz::route`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vm_fuzz::route(data));
