//! The WebAssembly driver, on wasmtime.
