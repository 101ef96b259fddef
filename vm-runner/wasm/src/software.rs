//! The guest software on disk: how the published packages become a folder that a VM runs from.
//!
//! [`build()`] is the only writer, [`Index`] and [`Manifest`] are what it leaves behind. Package files stay as published;
//! only the machine code beside them is ours. Must never run on a request: compiling takes seconds per module.

mod build;
mod compile;
mod index;
mod manifest;
mod package_file;
pub(crate) mod place;
mod recipe;
mod tree;

pub use build::{BuildOptions, Progress, Report, build};
pub(crate) use compile::file_name;
pub(crate) use index::COMPILED;
pub use index::{Index, ModuleEntry};
pub use manifest::{Manifest, Package, Source};
