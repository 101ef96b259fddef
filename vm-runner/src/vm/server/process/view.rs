//! What runs, as the API tells it: the kernel's processes, and those that have ended and are still known.

use std::collections::BTreeMap;
use std::time::Duration;

use vm_api::{ProcessExit, ProcessInfo, ProcessList, ProcessState};
use vm_kernel::{ExitStatus, Pid};

use super::started::StartedProcess;
use crate::vm::boot::Vm;
use crate::vm::server::exec::{code_and_signal, milliseconds};

/// Most bytes of one argument that are shown.
const MAX_ARGUMENT_BYTES: usize = 4096;
/// Most arguments that are shown.
const MAX_ARGUMENTS: usize = 256;

/// Everything, ascending by number.
pub(crate) fn list(vm: &Vm) -> ProcessList {
    ProcessList { items: all(vm).into_values().collect() }
}

/// Everything, each after its parent.
pub(crate) fn tree(vm: &Vm) -> ProcessList {
    let mut processes = all(vm);
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for info in processes.values() {
        children.entry(info.parent).or_default().push(info.pid);
    }
    // Whose parent is no process: the host's and orphans.
    let roots = processes.values().filter(|info| !processes.contains_key(&info.parent));
    let mut next: Vec<(i32, u32)> = roots.map(|info| (info.pid, 0)).collect();
    next.reverse();
    let mut items = Vec::with_capacity(processes.len());
    while let Some((pid, depth)) = next.pop() {
        let Some(info) = processes.remove(&pid) else { continue };
        items.push(ProcessInfo { depth: Some(depth), ..info });
        let below = children.remove(&pid).unwrap_or_default();
        next.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
    }
    ProcessList { items }
}

/// One of them.
pub(crate) fn one(vm: &Vm, pid: Pid) -> Option<ProcessInfo> {
    all(vm).remove(&pid.raw())
}

fn all(vm: &Vm) -> BTreeMap<i32, ProcessInfo> {
    // First those that the API knows: one that ends meanwhile is then seen in both lists rather than in neither.
    let started = vm.processes().all();
    let now = jiff::Timestamp::now();
    let from_kernel = |info: vm_kernel::ProcessInfo| {
        let exit = info.ended.map(exit_of);
        let info = ProcessInfo {
            pid: info.pid.raw(),
            parent: info.parent,
            group: info.group.raw(),
            session: info.session.raw(),
            argv: info.argv.iter().take(MAX_ARGUMENTS).map(|argument| text(argument)).collect(),
            state: if exit.is_some() { ProcessState::Zombie } else { ProcessState::Running },
            started_at: now.checked_sub(info.age).unwrap_or(now).to_string(),
            memory_bytes: info.memory_bytes,
            cpu_ms: milliseconds(info.cpu_time),
            depth: None,
            exit,
            output: None,
        };
        (info.pid, info)
    };
    let mut processes: BTreeMap<_, _> = vm.kernel().processes().into_iter().map(from_kernel).collect();
    for process in started {
        let pid = process.pid.raw();
        let info = processes.entry(pid).or_insert_with(|| known(&process));
        info.started_at = process.started_at.to_string();
        info.output = Some(process.log.state());
        if process.log.exit().is_some() {
            set_ended(info, &process);
        }
    }
    processes
}

/// What is known of a process that the kernel has forgotten. Its last output may still be on its way.
fn known(process: &StartedProcess) -> ProcessInfo {
    let pid = process.pid.raw();
    ProcessInfo {
        pid,
        parent: 0,
        group: pid,
        session: pid,
        argv: shown(&process.argv),
        state: ProcessState::Running,
        started_at: String::new(),
        memory_bytes: 0,
        cpu_ms: milliseconds(process.cpu_time()),
        depth: None,
        exit: None,
        output: None,
    }
}

/// Puts in how a process has ended that the API had started.
pub(crate) fn set_ended(info: &mut ProcessInfo, process: &StartedProcess) {
    info.state = ProcessState::Ended;
    info.memory_bytes = 0;
    info.cpu_ms = milliseconds(process.cpu_time());
    info.exit = process.log.exit();
    info.output = Some(process.log.state());
}

/// Puts in how another process has ended.
pub(crate) fn set_status(info: &mut ProcessInfo, status: ExitStatus, cpu_time: Duration) {
    info.state = ProcessState::Zombie;
    info.memory_bytes = 0;
    info.cpu_ms = milliseconds(cpu_time);
    info.exit = Some(exit_of(status));
}

fn exit_of(status: ExitStatus) -> ProcessExit {
    let (exit_code, signal) = code_and_signal(status);
    ProcessExit { exit_code, signal, ..ProcessExit::default() }
}

/// Arguments, as far as they are shown.
pub(crate) fn shown(argv: &[String]) -> Vec<String> {
    argv.iter().take(MAX_ARGUMENTS).map(|argument| text(argument.as_bytes())).collect()
}

fn text(argument: &[u8]) -> String {
    String::from_utf8_lossy(&argument[..argument.len().min(MAX_ARGUMENT_BYTES)]).into_owned()
}
