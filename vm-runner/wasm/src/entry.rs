//! What a module must be to be run: its entry points and the kinds of its imports. Every refusal names the cause and the
//! way out, because it is all that whoever built the module gets to see.

use wasmtime::{ExternType, Module, ModuleExport};

/// Export that the host calls to run a signal handler.
pub(crate) const TRAMPOLINE: &str = "__wasi_signal_trampoline";
/// Export that the host tells which signals are blocked.
pub(crate) const INITIAL_MASK: &str = "__agentos_set_initial_sigmask";
/// Export that runs the program.
const START: &str = "_start";
/// Export that readies a library.
const INITIALIZE: &str = "_initialize";
/// What standard libraries import from.
const PREVIEW_1: &str = "wasi_snapshot_preview1";
/// What preview 1 was called before it was preview 1; its structures are others.
const PREVIEW_0: &str = "wasi_unstable";

/// The entry point; or why this module cannot run, in words for the guest.
pub(crate) fn check(module: &Module) -> Result<ModuleExport, String> {
    for import in module.imports() {
        let (module, name) = (import.module(), import.name());
        if module == PREVIEW_0 {
            return Err(format!(
                "it imports {module}.{name}: it was built for WASI preview 0; build it for \
                                wasm32-wasip1"
            ));
        }
        let kind = match import.ty() {
            ExternType::Func(_) => continue,
            ExternType::Memory(_) => "memory",
            ExternType::Table(_) => "table",
            ExternType::Global(_) => "global",
            ExternType::Tag(_) => "tag",
        };
        return Err(format!(
            "it imports the {kind} {module}.{name}, which no program gets here; a program has its own"
        ));
    }
    match module.get_export(START) {
        Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => {}
        Some(_) => return Err(format!("its export {START} is no function without parameters and results")),
        None if module.get_export(INITIALIZE).is_some() => {
            return Err(format!("it is a library (a WASI reactor): it exports {INITIALIZE}, but no {START}"));
        }
        None => return Err(format!("it exports no function {START}: it is a library, not a program")),
    }
    module.get_export_index(START).ok_or_else(|| format!("it exports no function {START}"))
}

/// Whether the program was built with a standard library, which knows preview 1 only.
pub(crate) fn is_standard(module: &Module) -> bool {
    let mut imports = module.imports().peekable();
    imports.peek().is_some() && imports.all(|import| import.module() == PREVIEW_1)
}

/// The place of an exported function that takes nothing but 32-bit integers, as those that the host calls do.
pub(crate) fn function(module: &Module, name: &str) -> Option<ModuleExport> {
    let ExternType::Func(ty) = module.get_export(name)? else { return None };
    let (parameters, results) = match name {
        TRAMPOLINE => (1, 0..=0),
        _ => (2, 0..=1),
    };
    let fits = ty.params().len() == parameters
        && results.contains(&ty.results().len())
        && ty.params().chain(ty.results()).all(|ty| ty.is_i32());
    if fits { module.get_export_index(name) } else { None }
}
