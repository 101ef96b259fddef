//! What the fuzz targets do: each is a function of bytes that panics if a parser does what no bytes may make it do.
//!
//! Every parser of bytes from outside has one: packages, manifests, guest paths, tar archives, HTTP bodies, routes and
//! queries, event streams, structures in a guest's memory. Not only panics are looked for: what was parsed must be
//! within its bounds, and the same whatever the way to it (in pieces or at once, there and back again).
//!
//! `libfuzzer/` wraps them for cargo-fuzz, in a workspace of its own; `make nightly` runs it. `seeds/` holds where each
//! target starts from, and `tests/seeds.rs` runs every seed through its target with the everyday tests.
//!
//! Parsers that are private to crates on wasmtime are included by their path, so that nothing here compiles wasmtime.
//! Must never be a dependency of anything that ships.
// The included files have unit tests, which belong to their own crates.
#![cfg(not(test))]

mod archive;
mod body;
#[path = "../../wasm/src/flags.rs"]
#[allow(dead_code, reason = "the driver uses what this does not")]
mod flags;
mod guest;
mod memory;
mod package;
mod path;
mod query;
mod route;
mod stream;

pub use archive::archive;
pub use body::{body, manifest, text};
pub use guest::{address, file_actions};
pub use memory::memory;
pub use package::{package, package_parts};
pub use path::{path, walk};
pub use query::query;
pub use route::route;
pub use stream::stream;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its folder in `seeds/` and of its file in `libfuzzer/fuzz_targets/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", address),
    ("archive", archive),
    ("body", body),
    ("file_actions", file_actions),
    ("manifest", manifest),
    ("memory", memory),
    ("package", package),
    ("package_parts", package_parts),
    ("path", path),
    ("query", query),
    ("route", route),
    ("stream", stream),
    ("text", text),
    ("walk", walk),
];

/// Takes a number off the front of the input; 0 when there is none left.
fn take(data: &mut &[u8]) -> u8 {
    let Some((first, rest)) = data.split_first() else { return 0 };
    *data = rest;
    *first
}

/// Takes up to so many bytes off the front of the input.
fn take_bytes<'a>(data: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(len.min(data.len()));
    *data = rest;
    taken
}

/// Takes four bytes as a number, of which the upper half is mostly left out: near the edges is where things happen.
fn take_u32(data: &mut &[u8]) -> u32 {
    let shape = take(data);
    let mut bytes = [0; 4];
    let wide = if shape < 0xe0 { 2 } else { 4 };
    for byte in &mut bytes[..wide] {
        *byte = take(data);
    }
    let number = u32::from_le_bytes(bytes);
    if shape & 1 == 1 && wide == 4 { u32::MAX - number } else { number }
}
