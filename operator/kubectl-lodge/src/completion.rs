//! `kubectl lodge completion`: scripts that complete command lines, for `kubectl-lodge` in a shell, and for `kubectl lodge`
//! in kubectl's own completion.

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Args;
use crate::error::Error;
use crate::terminal::Terminal;

/// What kubectl calls to complete `kubectl lodge …`; it finds it on the PATH by its name.
const KUBECTL: &str = "\
#!/bin/sh
# kubectl completes `kubectl lodge` by this program: put it on your PATH as kubectl_complete-lodge
exec kubectl-lodge __complete \"$@\"
";

/// The program that the scripts are for.
const NAME: &str = "kubectl-lodge";

const EXAMPLES: &str = "\
Examples:
  # For `kubectl lodge`, with names of workspaces: kubectl looks for this program on the PATH
  kubectl lodge completion kubectl > ~/.local/bin/kubectl_complete-lodge
  chmod +x ~/.local/bin/kubectl_complete-lodge

  # For `kubectl-lodge`, in bash, zsh and fish
  source <(kubectl-lodge completion bash)
  kubectl-lodge completion zsh > \"${fpath[1]}/_kubectl-lodge\"
  kubectl-lodge completion fish > ~/.config/fish/completions/kubectl-lodge.fish";

/// Print a script that completes command lines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionArgs {
    /// For what
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: Target,
}

/// What completes command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    Bash,
    Zsh,
    Fish,
    /// The program kubectl_complete-lodge
    Kubectl,
}

/// Prints it.
pub(crate) fn run(args: &CompletionArgs, terminal: &mut Terminal) -> Result<u8, Error> {
    let shell = match args.shell {
        Target::Bash => Shell::Bash,
        Target::Zsh => Shell::Zsh,
        Target::Fish => Shell::Fish,
        Target::Kubectl => return terminal.print(KUBECTL.as_bytes()).map(|()| 0),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(), NAME, &mut script);
    terminal.print(&script)?;
    Ok(0)
}

/// The command line without what is not for people.
fn shown() -> Command {
    let root = Args::command();
    let commands = root.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let arguments = root.get_arguments().cloned();
    Command::new(NAME).disable_help_subcommand(true).args(arguments).subcommands(commands)
}
