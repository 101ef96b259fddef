//! See `vm_fuzz::walk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vm_fuzz::walk(data));
