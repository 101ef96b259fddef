//! `shells`: commands in a terminal, which several clients may attach to, now and later.
//!
//! A shell is the leader of a session with a terminal of its own. What it shows goes into a ring that every attached
//! client follows at its own position, so a client that comes back sees what it missed, and one that reads too slowly is
//! let go without holding up the others. Questions to the terminal (`question.rs`) are answered by whoever is attached, or
//! by the owner in their place. The terminal has one size: the last one told counts. `commandTimeout` does not
//! apply: people think longer than that.

mod attach;
mod owner;
mod question;
mod socket;
mod started;
mod table;

use std::sync::Arc;

use http::{Method, StatusCode};
use vm_api::area::ShellAction;
use vm_api::shell::MAX_WINDOW;
use vm_api::{
    EnvVar, Problem, ProblemCode, ResizeRequest, ShellInfo, ShellList, ShellRequest, VmEvent, route,
};
use vm_kernel::WindowSize;

use self::started::Shell;
use super::exec::invalid;
use super::exec::order::{Order, Wanted};
use super::process::log::Log;
use super::query::Query;
use crate::http::{self as web, Request, Response};
use crate::task;
use crate::vm::boot::Vm;

pub(crate) use self::table::ShellTable;

/// Largest request.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// How much of what was shown is kept for those who attach.
const REPLAY_BYTES: usize = 256 << 10;
/// What a terminal of this kind is called.
const TERMINAL: &str = "xterm-256color";
/// What commands without a terminal are told.
const NO_TERMINAL: &str = "dumb";

/// Answers `shells`: the list, or a new one.
pub(crate) async fn shells(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    Query::parse(request.query(), &[])?;
    if *request.method() == Method::POST {
        return start(vm, request).await;
    }
    let items = vm.shells().all().iter().map(|shell| shell.info()).collect();
    Ok(web::json(StatusCode::OK, &ShellList { items }))
}

/// Answers what is about one shell.
pub(crate) async fn shell(
    vm: &Arc<Vm>,
    action: ShellAction,
    area: &str,
    request: &mut Request,
) -> Result<Response, Problem> {
    let (id, _) = route::split_item(area, route::SHELLS).unwrap_or_default();
    let shell = vm.shells().get(id).ok_or_else(|| {
        let detail = format!("there is no shell {id:?}, or it ended long ago");
        Problem::new(ProblemCode::ShellNotFound, detail)
    })?;
    match action {
        ShellAction::Item if *request.method() == Method::DELETE => {
            shell.close();
            shell.log().wait_end().await;
            vm.shells().remove(&shell);
            Ok(web::empty(StatusCode::NO_CONTENT))
        }
        ShellAction::Item => Ok(web::json(StatusCode::OK, &shell.info())),
        ShellAction::Attach => attach::attach(vm, &shell, request),
        ShellAction::Resize => {
            let wanted: ResizeRequest = request.read_json(MAX_REQUEST_BYTES).await?;
            let window = parse_window(Some(wanted.cols), Some(wanted.rows))?;
            if !shell.resize(window) {
                return Err(Problem::new(ProblemCode::ShellEnded, format!("shell {id} has ended")));
            }
            Ok(web::json(StatusCode::OK, &shell.info()))
        }
    }
}

async fn start(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let mut held = vm.buffers().hold();
    let body = request.read_body_as_allowed(MAX_REQUEST_BYTES, |bytes| held.grow_to(bytes)).await?;
    let wanted: ShellRequest =
        if body.is_empty() { ShellRequest::default() } else { web::parse_json(&body)? };
    let ShellRequest { command, argv, mut env, cwd, user, cols, rows } = wanted;
    let window = parse_window(cols, rows)?;
    let argv = match (&command, argv) {
        (None, None) => Some(login_shell(vm, user.as_deref())),
        (_, argv) => argv,
    };
    let is_told = env.iter().any(|var| var.name == "TERM");
    let default = vm.settings().env.iter().rev().find(|(name, _)| name == "TERM").cloned();
    if !is_told && default.is_none_or(|(_, value)| value == NO_TERMINAL) {
        env.push(EnvVar::new("TERM", TERMINAL));
    }
    let order = Order::parse(vm, Wanted { command, argv, env, cwd, user })?;
    let info = spawn(vm, order, window)?;
    Ok(web::json(StatusCode::CREATED, &info))
}

fn spawn(vm: &Arc<Vm>, order: Order, window: WindowSize) -> Result<ShellInfo, Problem> {
    let argv = order.argv().to_vec();
    let mut process = order.spawn(vm, |command| command.terminal(window))?;
    let Some(terminal) = process.terminal.take() else {
        return Err(Problem::new(ProblemCode::Internal, "the kernel gave no terminal"));
    };
    let log = Arc::new(Log::new(REPLAY_BYTES, vm.processes().kept_output().hold()));
    let id = vm.shells().next_id();
    let shell = Arc::new(Shell::new(id, process.pid(), argv, log, terminal, window));
    vm.shells().insert(Arc::clone(&shell));
    vm.events().append(&VmEvent::ShellStarted { id: shell.id().to_owned(), pid: process.pid().raw() });
    let info = shell.info();
    let owner = task::spawn(owner::run(Arc::downgrade(vm), process, Arc::clone(&shell)));
    vm.shells().set_owner(&shell, owner);
    Ok(info)
}

/// The shell of an account, as at a login.
fn login_shell(vm: &Vm, user: Option<&str>) -> Vec<String> {
    let name = user.unwrap_or(vm.user_name());
    let account = vm.kernel().accounts().users.iter().find(|account| account.name == name);
    let shell = account.map_or("/bin/sh", |account| account.shell.as_str());
    vec![shell.to_owned(), "-l".to_owned()]
}

/// Checks the size of a window.
fn parse_window(cols: Option<u16>, rows: Option<u16>) -> Result<WindowSize, Problem> {
    let standard = WindowSize::STANDARD;
    let (columns, rows) = (cols.unwrap_or(standard.columns), rows.unwrap_or(standard.rows));
    for (field, value) in [("cols", columns), ("rows", rows)] {
        if !(1..=MAX_WINDOW).contains(&value) {
            return Err(invalid(field, format!("{field} is {value}; it must be from 1 to {MAX_WINDOW}")));
        }
    }
    Ok(WindowSize { columns, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_size_within_bounds() {
        assert_eq!(parse_window(None, None).unwrap(), WindowSize::STANDARD);
        assert_eq!(parse_window(Some(120), Some(1)).unwrap(), WindowSize { columns: 120, rows: 1 });
        for (cols, rows, field) in [(0, 24, "cols"), (80, 1001, "rows")] {
            let problem = parse_window(Some(cols), Some(rows)).unwrap_err();
            assert_eq!(problem.field.as_deref(), Some(field));
        }
    }
}
