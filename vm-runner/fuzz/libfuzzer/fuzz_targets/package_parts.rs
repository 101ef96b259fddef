//! See `vm_fuzz::package_parts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vm_fuzz::package_parts(data));
