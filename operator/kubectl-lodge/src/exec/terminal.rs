//! `exec -t`: the command in a terminal of its own.

use vm_api::{ShellInfo, ShellRequest};

use super::{ExecArgs, shell_code};
use crate::attach::shell_request;
use crate::attach::{Attachment, Ending, OnSignal};
use crate::error::Error;
use crate::gateway::Ask;
use crate::remote::Remote;
use crate::terminal::Terminal;

/// Runs the command.
pub(super) async fn run(args: ExecArgs, remote: &Remote, terminal: &mut Terminal) -> Result<u8, Error> {
    let ExecArgs { name: _, command, shell, stdin, tty: _, detach_keys, setting, timeout: _ } = args;
    if stdin && terminal.tty.is_none() {
        terminal.tell("standard input is no terminal: what it has is typed into the command's terminal");
    }
    let request = ShellRequest {
        argv: shell.is_none().then_some(command),
        command: shell,
        ..shell_request(setting, terminal)
    };
    let shell: ShellInfo = remote.document(Ask::post(remote.route.shells()).json(&request), terminal).await?;
    let attachment = Attachment {
        remote,
        shell: &shell,
        after: Some(0),
        keys: &detach_keys,
        with_input: stdin,
        on_signal: OnSignal::SendOn,
    };
    match attachment.show(terminal).await? {
        Ending::Exited(exit) => Ok(shell_code(&exit)),
        Ending::Detached => {
            let attach = remote.command(&format!("shell --attach {}", shell.id));
            terminal.tell(&format!("it runs on; attach to it again: {attach}"));
            Ok(0)
        }
        Ending::Signaled(wish) => Err(Error::Interrupted(wish.number())),
    }
}
