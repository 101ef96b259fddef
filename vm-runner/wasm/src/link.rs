//! Brings the host functions together, and gives every module exactly the imports it asks for.
//!
//! A module that imports something unknown still runs, as long as it does not call it: a function that one of our
//! modules lacks is a stub that answers "no such call", one of a foreign module ends the program with `SIGSYS`.

use std::sync::OnceLock;

use vm_abi::Errno;
use wasmtime::{Engine, ExternType, FuncType, InstancePre, Linker, Module, Val, ValType};

use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::host_call::{HostLinker, Parameters};
use crate::run::Unwind;
use crate::{host_fs, host_net, host_process, host_tty, host_user, preview1};

/// Modules whose functions answer errors.
const OUR_MODULES: [&str; 6] =
    ["wasi_snapshot_preview1", "host_process", "host_fs", "host_user", "host_net", "host_tty"];

/// The linkers of an engine: for programs that can catch signals, and for those that cannot.
pub(crate) struct Linkers {
    engine: Engine,
    plain: Linker<Guest>,
    /// Made when the first program needs it; few do.
    delivering: OnceLock<Linker<Guest>>,
    parameters: Parameters,
}

impl Linkers {
    pub(crate) fn new(engine: &Engine) -> Result<Self> {
        let (plain, parameters) = host_functions(engine, false)?;
        Ok(Self { engine: engine.clone(), plain, delivering: OnceLock::new(), parameters })
    }

    /// Links a module.
    ///
    /// # Errors
    /// When it imports something that is no function.
    pub(crate) fn link(&self, module: &Module, catches_signals: bool) -> Result<InstancePre<Guest>> {
        let linker = if catches_signals { self.delivering()? } else { &self.plain };
        let unknown = self.unknown_imports(module);
        if unknown.is_empty() {
            return linker.instantiate_pre(module).map_err(Error::Link);
        }
        let mut linker = linker.clone();
        linker.allow_shadowing(true);
        for (module, name, ty) in unknown {
            tracing::debug!(module, name, %ty, "the program imports an unknown host function");
            define_stub(&mut linker, module, name, ty).map_err(Error::Link)?;
        }
        linker.instantiate_pre(module).map_err(Error::Link)
    }

    fn delivering(&self) -> Result<&Linker<Guest>> {
        if let Some(linker) = self.delivering.get() {
            return Ok(linker);
        }
        let (linker, _) = host_functions(&self.engine, true)?;
        Ok(self.delivering.get_or_init(|| linker))
    }

    /// Imports that no host function answers, or only one with other parameters.
    fn unknown_imports(&self, module: &Module) -> Vec<(String, String, FuncType)> {
        let is_known = |module: &str, name: &str, ty: &FuncType| {
            self.parameters
                .get(&(module, name))
                .is_some_and(|letters| ty.params().map(letter).eq(letters.chars()))
        };
        let unknown = module.imports().filter_map(|import| match import.ty() {
            ExternType::Func(ty) if !is_known(import.module(), import.name(), &ty) => {
                Some((import.module().to_owned(), import.name().to_owned(), ty))
            }
            _ => None,
        });
        unknown.collect()
    }
}

fn host_functions(engine: &Engine, delivers: bool) -> Result<(Linker<Guest>, Parameters)> {
    let mut host = HostLinker::new(engine, delivers);
    let linked = preview1::link(&mut host)
        .and_then(|()| host_process::link(&mut host))
        .and_then(|()| host_fs::link(&mut host))
        .and_then(|()| host_user::link(&mut host))
        .and_then(|()| host_net::link(&mut host))
        .and_then(|()| host_tty::link(&mut host));
    linked.map_err(Error::Link)?;
    Ok(host.finish())
}

/// The letter of a parameter type in [`Parameters`]; `?` for those that no host function has.
fn letter(ty: ValType) -> char {
    match ty {
        ValType::I32 => 'i',
        ValType::I64 => 'I',
        ValType::F32 | ValType::F64 | ValType::V128 | ValType::Ref(_) => '?',
    }
}

/// Defines a function that there is not. Those of our own modules answer `ENOSYS` where an errno fits, and -1 where the
/// value is wider, as an old kernel does; what a function of a foreign module should answer, nobody knows.
fn define_stub(
    linker: &mut Linker<Guest>,
    module: String,
    name: String,
    ty: FuncType,
) -> wasmtime::Result<()> {
    let (of_call, name_of_call) = (module.clone(), name.clone());
    if !OUR_MODULES.contains(&module.as_str()) {
        linker.func_new(&module, &name, ty, move |_caller, _parameters, _results| {
            let (module, name) = (of_call.clone(), name_of_call.clone());
            Err(wasmtime::Error::new(Unwind::UnknownCall { module, name }))
        })?;
        return Ok(());
    }
    let answers: Vec<Val> = ty.results().map(|result| unknown_answer(&result)).collect();
    linker.func_new(&module, &name, ty, move |_caller, _parameters, results| {
        tracing::debug!(module = of_call, name = name_of_call, "the program called an unknown host function");
        results.clone_from_slice(&answers);
        Ok(())
    })?;
    Ok(())
}

fn unknown_answer(result: &ValType) -> Val {
    match result {
        ValType::I32 => Val::I32(i32::from(Errno::ENOSYS as u16)),
        ValType::I64 => Val::I64(-1),
        ValType::F32 => Val::F32(0),
        ValType::F64 => Val::F64(0),
        ValType::V128 => Val::V128(0.into()),
        ValType::Ref(ty) => Val::null_ref(ty.heap_type()),
    }
}
