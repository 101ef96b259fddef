//! `kubectl lodge shell`: the login shell of a workspace, or another command, in a terminal that can be left and found
//! again, by several people at once.

use vm_api::{ProcessExit, ShellInfo, ShellList, ShellRequest};

use crate::args::{ClusterArgs, Format, Setting};
use crate::attach::{Attachment, Ending, OnSignal, shell_request};
use crate::error::Error;
use crate::exec::shell_code;
use crate::gateway::Ask;
use crate::remote::Remote;
use crate::table::{self, Table};
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  # A login shell
  kubectl lodge shell ada

  # Leave it with ctrl-p ctrl-q, look what there is, come back
  kubectl lodge shell ada --list
  kubectl lodge shell ada --attach 1

  # Another command, in a directory
  kubectl lodge shell ada -w /work -- node

  # Start one and leave it at once; look in later; end it
  kubectl lodge shell ada --detach -- make nightly
  kubectl lodge shell ada --attach 1
  kubectl lodge shell ada --end 1

Several may attach to one shell: all see the same, all may type, the last size told counts. A
shell that nobody is attached to stays until its workspace sleeps; the last 256 KiB that it has
shown are shown again to who comes back.

Broken connections come back by themselves for up to 1 minute. Closing the window leaves the
shell.

Exit codes:
  that of the shell when it ends, 0 when it is left, 125 if Lodge could not do it";

/// Work in a terminal of a workspace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(override_usage = "kubectl lodge shell NAME [OPTIONS] [-- COMMAND [ARG]...]\n       \
                            kubectl lodge shell NAME --attach ID | --list | --end ID")]
pub(crate) struct ShellArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Program and arguments; default is the login shell of the account
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["attach", "list", "end"])]
    pub(crate) command: Vec<String>,
    /// Attach to a shell that runs
    #[arg(short = 'a', long, value_name = "ID", conflicts_with_all = ["list", "end", "detach"])]
    pub(crate) attach: Option<String>,
    /// List the shells
    #[arg(short = 'l', long, conflicts_with_all = ["end", "detach"])]
    pub(crate) list: bool,
    /// End a shell and everything in it
    #[arg(long, value_name = "ID", conflicts_with = "detach")]
    pub(crate) end: Option<String>,
    /// Start it, print its id, and do not attach
    #[arg(short = 'd', long)]
    pub(crate) detach: bool,
    /// Keys that leave the shell; none turns them off
    #[arg(long, value_name = "KEYS", default_value = crate::detach::DEFAULT, env = "LODGE_DETACH_KEYS")]
    pub(crate) detach_keys: crate::detach::DetachKeys,
    #[command(flatten)]
    pub(crate) setting: Setting,
    /// How --list prints
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// Does it.
pub(crate) async fn run(
    args: ShellArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let ShellArgs { name, command, attach, list, end, detach, detach_keys, setting, output } = args;
    let remote = Remote::open(&name, &cluster_args).await?;
    if list {
        let shells: ShellList = remote.document(Ask::get(remote.route.shells()), terminal).await?;
        return print_list(&shells, output, terminal);
    }
    if let Some(id) = end {
        let reply = remote.ask(Ask::delete(remote.route.shell(&id, "")), terminal).await?;
        reply.bytes().await?;
        terminal.print(format!("shell {id} of workspace {name} has ended\n").as_bytes())?;
        return Ok(0);
    }
    let (shell, after): (ShellInfo, _) = match attach {
        Some(id) => (remote.document(Ask::get(remote.route.shell(&id, "")), terminal).await?, None),
        None => {
            let argv = (!command.is_empty()).then_some(command);
            let request = ShellRequest { argv, ..shell_request(setting, terminal) };
            (remote.document(Ask::post(remote.route.shells()).json(&request), terminal).await?, Some(0))
        }
    };
    if detach {
        terminal.print(format!("{}\n", shell.id).as_bytes())?;
        return Ok(0);
    }
    let attachment = Attachment {
        remote: &remote,
        shell: &shell,
        after,
        keys: &detach_keys,
        with_input: true,
        on_signal: OnSignal::Detach,
    };
    let ending = attachment.show(terminal).await?;
    let hint = format!(
        "left shell {}; attach again: {}",
        shell.id,
        remote.command(&format!("shell --attach {}", shell.id))
    );
    match ending {
        Ending::Exited(exit) => Ok(shell_code(&exit)),
        Ending::Detached => {
            terminal.tell(&format!("\n{hint}"));
            Ok(0)
        }
        Ending::Signaled(wish) => {
            terminal.tell(&format!("\n{hint}"));
            Err(Error::Interrupted(wish.number()))
        }
    }
}

fn print_list(shells: &ShellList, format: Option<Format>, terminal: &mut Terminal) -> Result<u8, Error> {
    let mut table = Table::new(&["ID", "PID", "ATTACHED", "AGE", "STATE", "COMMAND"], &["SIZE", "SHOWN"]);
    for shell in &shells.items {
        let ShellInfo { id, pid, argv, started_at, cols, rows, attached, first: _, end, exit } = shell;
        table.add(
            id,
            vec![
                id.clone(),
                pid.to_string(),
                attached.to_string(),
                table::age(started_at),
                state(exit.as_ref()),
                argv.join(" "),
                format!("{cols}x{rows}"),
                table::bytes(*end),
            ],
        );
    }
    table.print(shells, format, "no shells", terminal)?;
    Ok(0)
}

fn state(exit: Option<&ProcessExit>) -> String {
    exit.map_or_else(|| "running".to_owned(), |exit| format!("ended ({})", shell_code(exit)))
}
