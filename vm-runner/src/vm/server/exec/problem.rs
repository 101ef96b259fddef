//! Why a command could not be started, with the limit that was hit and what raises it.

use vm_abi::Errno;
use vm_api::{Problem, ProblemCode};
use vm_kernel::{Limit, Limits};

use crate::vm::boot::Vm;
use crate::vm::server::errno::shown;

/// The problem of a field of the request.
pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::InvalidRequest, detail).with_field(field)
}

/// The problem of a program called `name`, looked for in `path`, that could not be started.
pub(crate) fn spawn_problem(errno: Errno, name: &str, path: &str, vm: &Vm) -> Problem {
    let shown = shown(name.as_bytes());
    let limits = vm.kernel().limits();
    let problem = match errno {
        Errno::ENOENT if name.contains('/') => {
            Problem::new(ProblemCode::CommandNotFound, format!("there is no program {shown}"))
        }
        Errno::ENOENT => Problem::new(
            ProblemCode::CommandNotFound,
            format!("there is no command {shown:?} in PATH={path}; does spec.software bring it?"),
        ),
        Errno::EAGAIN => {
            let most = limits.max_processes;
            let detail = format!(
                "{most} processes run, the most of this workspace; end some or raise spec.limits.processes"
            );
            Problem::new(ProblemCode::LimitProcesses, detail).with_limit("spec.limits.processes")
        }
        Errno::ENOMEM => Problem::new(ProblemCode::LimitMemory, "no memory left for another program")
            .with_limit("spec.limits.memory"),
        Errno::E2BIG => {
            let most = limits.max_args_bytes;
            let detail = format!(
                "arguments and environment have more than {most} bytes together; write them to a file"
            );
            Problem::new(ProblemCode::LimitArguments, detail)
                .with_limit(format!("{most} bytes of arguments and environment"))
        }
        Errno::EMFILE => {
            let most = limits.max_fds;
            let detail = format!("a process may have {most} open files; raise spec.limits.openFiles");
            Problem::new(ProblemCode::LimitOpenFiles, detail).with_limit("spec.limits.openFiles")
        }
        Errno::ENFILE => system_wide(limits, vm.kernel().limit_behind(errno)),
        Errno::ENOSPC => {
            let limit = format!("{} terminals per VM", limits.max_terminals);
            let detail = format!("{limit} are the most; end shells that are not needed");
            Problem::new(ProblemCode::LimitTerminals, detail).with_limit(limit)
        }
        other => Problem::new(
            ProblemCode::CommandNotExecutable,
            format!("{shown} cannot be run: {}", other.message()),
        ),
    };
    problem.with_errno(errno.name())
}

/// What has run out of which all processes together may have so much. How many pipes and open files that are follows from
/// what one process may have (`boot::limits`).
fn system_wide(limits: &Limits, hit: Option<Limit>) -> Problem {
    let (most, what, limit) = match hit {
        Some(Limit::Pipes) => (limits.max_pipes, "pipes", "spec.limits.openFiles"),
        Some(Limit::Sockets) => (limits.max_sockets, "sockets", "spec.limits.sockets"),
        _ => (limits.max_open_files, "open files", "spec.limits.openFiles"),
    };
    let detail = format!("all processes together have {most} {what}, their most; end some or raise {limit}");
    Problem::new(ProblemCode::LimitOpenFiles, detail).with_limit(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_processes_share_is_not_blamed_on_the_limit_of_one() {
        let limits = Limits::default();
        let problem = system_wide(&limits, Some(Limit::Pipes));
        assert!(problem.detail.starts_with("all processes together have 1024 pipes"), "{problem}");
        assert_eq!(problem.limit.as_deref(), Some("spec.limits.openFiles"));
        let problem = system_wide(&limits, Some(Limit::Sockets));
        assert_eq!(problem.limit.as_deref(), Some("spec.limits.sockets"));
        let problem = system_wide(&limits, None);
        assert!(problem.detail.starts_with("all processes together have 16384 open files"), "{problem}");
    }
}
