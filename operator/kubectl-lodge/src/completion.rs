//! `kubectl lodge completion`: scripts that complete command lines, for `kubectl-lodge` in a shell, and for `kubectl lodge`
//! in kubectl's own completion. None knows a command: all of them ask `complete`, so that they offer the same everywhere,
//! also the names of workspaces.

use crate::error::Error;
use crate::terminal::Terminal;

const BASH: &str = include_str!("../completion/kubectl-lodge.bash");
const ZSH: &str = include_str!("../completion/kubectl-lodge.zsh");
const FISH: &str = include_str!("../completion/kubectl-lodge.fish");
/// What kubectl calls to complete `kubectl lodge …`; it finds it on the PATH by its name.
const KUBECTL: &str = include_str!("../completion/kubectl_complete-lodge");

const EXAMPLES: &str = "\
Examples:
  # For `kubectl lodge`, with names of workspaces: kubectl looks for this program on the PATH
  kubectl lodge completion kubectl > ~/.local/bin/kubectl_complete-lodge
  chmod +x ~/.local/bin/kubectl_complete-lodge

  # For `kubectl-lodge`, in bash, zsh and fish
  source <(kubectl-lodge completion bash)
  kubectl-lodge completion zsh > \"${fpath[1]}/_kubectl-lodge\"
  kubectl-lodge completion fish > ~/.config/fish/completions/kubectl-lodge.fish

`kubectl lodge` is completed in every shell in which `kubectl` is: see `kubectl completion --help`.";

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
    let script = match args.shell {
        Target::Bash => BASH,
        Target::Zsh => ZSH,
        Target::Fish => FISH,
        Target::Kubectl => KUBECTL,
    };
    terminal.print(script.as_bytes()).map(|()| 0)
}
