//! What a request wants to run, checked; the same for `exec`, `processes` and `shells`.
//!
//! Environment, later ones win: the system's defaults, what packages provide, `spec.env`, the request's `env`.

use std::time::Duration;

use vm_abi::{Access, Errno};
use vm_api::{EnvVar, Problem, ProblemCode, WireDuration};
use vm_kernel::{Command, ProcessHandle};

use super::problem::{invalid, spawn_problem};
use crate::validate::check_env;
use crate::vm::boot::{User, Vm};
use crate::vm::etc;
use crate::vm::server::errno::shown;

/// What a request says about the command.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) command: Option<String>,
    pub(crate) argv: Option<Vec<String>>,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<String>,
}

/// A command that makes sense.
#[derive(Debug)]
pub(crate) struct Order {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    cwd: String,
    user: User,
}

impl Order {
    /// Checks a request.
    pub(crate) fn parse(vm: &Vm, wanted: Wanted) -> Result<Self, Problem> {
        let Wanted { command, argv, env, cwd, user } = wanted;
        let argv = parse_argv(command, argv)?;
        check_env(&env, "env")?;
        let user = vm.user(user.as_deref())?;
        let cwd = parse_cwd(cwd, &user)?;
        let mut merged = vm.settings().env.clone();
        merged.extend(env.into_iter().map(|var| (var.name, var.value)));
        Ok(Self { argv, env: merged, cwd, user })
    }

    /// Program and arguments.
    pub(crate) fn argv(&self) -> &[String] {
        &self.argv
    }

    /// Starts the command; `connect` says what its standard streams are.
    pub(crate) fn spawn(
        self,
        vm: &Vm,
        connect: impl FnOnce(Command) -> Command,
    ) -> Result<ProcessHandle, Problem> {
        let Self { argv, env, cwd, user } = self;
        check_cwd(vm, &user, &cwd)?;
        let path = env.iter().rev().find(|(name, _)| name == "PATH").map_or(etc::PATH, |(_, path)| path);
        let path = path.to_owned();
        let name = argv.first().cloned().unwrap_or_default();
        let mut command = Command::new(name.clone().into_bytes())
            .args(argv.into_iter().skip(1).map(String::into_bytes))
            .cwd(cwd.into_bytes())
            .credentials(user.credentials);
        for (name, value) in env {
            command = command.env(name, value);
        }
        vm.kernel().spawn(connect(command)).map_err(|errno| spawn_problem(errno, &name, &path, vm))
    }
}

/// The wall-clock limit of a command.
pub(crate) fn parse_timeout(vm: &Vm, timeout: Option<WireDuration>) -> Result<Duration, Problem> {
    let most = vm.settings().command_timeout;
    match timeout {
        None => Ok(most),
        Some(timeout) if timeout.0 <= most && !timeout.0.is_zero() => Ok(timeout.0),
        Some(timeout) => {
            let detail = format!(
                "timeout is {timeout}; it must be more than 0 and at most {most:?}, which is spec.limits.commandTimeout"
            );
            Err(invalid("timeout", detail).with_limit("spec.limits.commandTimeout"))
        }
    }
}

fn parse_argv(command: Option<String>, argv: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    let argv = match (command, argv) {
        (Some(command), None) => vec!["/bin/sh".to_owned(), "-c".to_owned(), command],
        (None, Some(argv)) if argv.first().is_some_and(|name| !name.is_empty()) => argv,
        (None, Some(_)) => return Err(invalid("argv", "argv needs at least the name of a program")),
        (Some(_), Some(_)) => return Err(invalid("argv", "give either command or argv, not both")),
        (None, None) => return Err(invalid("command", "give a command (run by /bin/sh -c) or an argv")),
    };
    match argv.iter().position(|argument| argument.contains('\0')) {
        Some(index) => Err(invalid("argv", format!("argument {index} contains NUL"))),
        None => Ok(argv),
    }
}

fn parse_cwd(cwd: Option<String>, user: &User) -> Result<String, Problem> {
    let cwd = match cwd {
        None => return Ok(user.home.clone()),
        Some(cwd) if cwd.starts_with('/') => cwd,
        Some(cwd) => format!("{}/{cwd}", user.home.trim_end_matches('/')),
    };
    if cwd.contains('\0') {
        return Err(Problem::new(ProblemCode::InvalidPath, "cwd contains NUL").with_field("cwd"));
    }
    Ok(cwd)
}

/// A working directory that cannot be entered must not look like a command that does not exist.
fn check_cwd(vm: &Vm, user: &User, cwd: &str) -> Result<(), Problem> {
    let result = vm.walk(&user.credentials, |walk| {
        let location = walk.resolve(cwd.as_bytes())?;
        if !location.file_type().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        location.check_access(&user.credentials, Access::EXECUTE)
    });
    result.map_err(|error| {
        let errno = error.errno();
        Problem::new(ProblemCode::InvalidCwd, format!("cwd {}: {}", shown(cwd.as_bytes()), errno.message()))
            .with_errno(errno.name())
            .with_field("cwd")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_exactly_one_of_command_and_argv() {
        let argv = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse_argv(Some("x".to_owned()), None).unwrap(), ["/bin/sh", "-c", "x"]);
        assert_eq!(parse_argv(None, argv(&["ls", "-l"])).unwrap(), ["ls", "-l"]);
        for (command, argv) in [
            (None, None),
            (Some("x".to_owned()), argv(&["x"])),
            (None, argv(&[])),
            (None, argv(&[""])),
            (None, argv(&["a\0"])),
        ] {
            assert!(parse_argv(command, argv).unwrap_err().is(ProblemCode::InvalidRequest));
        }
    }
}
