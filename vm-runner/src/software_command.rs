//! `vm-runner software build` and `vm-runner software list`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use vm_wasm::software::{BuildOptions, Progress, Report, build as build_software};

use crate::software::{self, Catalog};

/// Why there is no software folder, or none to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Build(#[from] vm_wasm::Error),
    #[error(transparent)]
    Catalog(#[from] software::Error),
    #[error("writing the list: {0}")]
    Output(#[from] io::Error),
}

/// Makes a software folder and tells how far it is on standard error.
pub(crate) fn build(
    node_modules: PathBuf,
    packages: PathBuf,
    out: PathBuf,
    cache: Option<PathBuf>,
) -> Result<(), Error> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = BuildOptions { node_modules, packages, out, cache, threads };
    let Report { packages, modules, compiled, wasm_bytes, compiled_bytes, fingerprint: _ } =
        build_software(&options, &|progress| {
            // Only for people who wait; a closed standard error is no reason to stop.
            let _ = show(progress);
        })?;
    writeln!(
        io::stdout(),
        "{packages} packages, {modules} programs ({compiled} compiled now), {} MB of WebAssembly, {} MB of machine code",
        wasm_bytes / 1_000_000,
        compiled_bytes / 1_000_000
    )?;
    Ok(())
}

fn show(progress: Progress<'_>) -> io::Result<()> {
    let mut output = io::stderr().lock();
    match progress {
        Progress::Tree { name, version } => writeln!(output, "{name} {version}"),
        Progress::Module { done, total, compiled } if done == total || (compiled > 0 && done % 10 == 0) => {
            writeln!(output, "compiled {done} of {total} programs")
        }
        Progress::Module { .. } => Ok(()),
    }
}

/// Prints the packages of a software folder.
pub(crate) fn list(software: &Path) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    for package in Catalog::open(software)?.list() {
        writeln!(output, "{} {}  {}", package.name, package.version, package.description)?;
        if !package.includes.is_empty() {
            writeln!(output, "    with {}", package.includes.join(" "))?;
        }
        writeln!(output, "    {}", package.commands.join(" "))?;
    }
    Ok(())
}
