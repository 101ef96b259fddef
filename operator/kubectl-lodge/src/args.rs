//! The command line. Help teaches by example: who has read it once can use the plugin. The arguments of a command stand in
//! its own file.

use clap::{Parser, Subcommand, ValueEnum};
use vm_api::{EnvVar, WireDuration};

use crate::cat::CatArgs;
use crate::completion::CompletionArgs;
use crate::cp::CpArgs;
use crate::cron::CronArgs;
use crate::edit::EditArgs;
use crate::events::EventsArgs;
use crate::exec::ExecArgs;
use crate::kill::KillArgs;
use crate::ls::LsArgs;
use crate::ps::PsArgs;
use crate::shell::ShellArgs;
use crate::sleep::SleepArgs;
use crate::status::StatusArgs;
use crate::top::TopArgs;
use crate::wake::WakeArgs;

const EXAMPLES: &str = "\
Examples:
  # Run a program in workspace ada of the current namespace
  kubectl lodge exec ada -- uname -a

  # Run a shell command line: pipes, redirections, variables
  kubectl lodge exec ada -c 'grep -r TODO src | wc -l'

  # Work in it
  kubectl lodge shell ada

  # Copy a folder into it, and back
  kubectl lodge cp ./project ada:/work
  kubectl lodge cp ada:/work/project .

  # See why a workspace is awake, or not ready
  kubectl lodge status ada

kubectl lodge COMMAND --help has examples of each command.";

/// Work with Lodge's workspaces: computers for agents, on Kubernetes
#[derive(Debug, Parser)]
#[command(name = "kubectl-lodge", bin_name = "kubectl lodge", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a workspace; it wakes up if it sleeps
    Exec(ExecArgs),
    /// Work in a terminal of a workspace; leave it and come back
    Shell(ShellArgs),
    /// Copy files and folders from and to workspaces
    Cp(CpArgs),
    /// List files of a workspace
    Ls(LsArgs),
    /// Print files of a workspace
    Cat(CatArgs),
    /// Edit a file of a workspace
    Edit(EditArgs),
    /// List the processes of a workspace, as a tree
    Ps(PsArgs),
    /// Send a signal to processes of a workspace
    Kill(KillArgs),
    /// Show what uses processor and memory
    Top(TopArgs),
    /// Show what happens in a workspace
    Events(EventsArgs),
    /// Wake a workspace
    Wake(WakeArgs),
    /// Put a workspace to sleep
    Sleep(SleepArgs),
    /// Explain the state of a workspace: why it is awake, why it is not ready
    Status(StatusArgs),
    /// See CronJobs, and run them now
    Cron(CronArgs),
    /// Print a script that completes command lines
    Completion(CompletionArgs),
    /// Print the version of this plugin
    Version,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Yaml,
    /// A table with more columns
    Wide,
    /// Names only, a line each
    Name,
}

/// How a document is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocumentFormat {
    Json,
    Yaml,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventFormat {
    /// A document a line
    Json,
}

/// Which cluster, as whom, and where the gateway is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Namespace of the workspace; default is that of the context
    #[arg(short = 'n', long, global = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// Cluster of the kubeconfig
    #[arg(long, global = true, value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// User of the kubeconfig
    #[arg(long, global = true, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Path of the kubeconfig; default is KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<std::path::PathBuf>,
    /// Namespace that Lodge is installed in
    #[arg(
        long,
        global = true,
        value_name = "NAMESPACE",
        default_value = "lodge-system",
        env = "LODGE_NAMESPACE"
    )]
    pub(crate) lodge_namespace: String,
    /// Address of the gateway, such as https://lodge.example.com; default is what the cluster says, or a port-forward
    #[arg(long, global = true, value_name = "URL", env = "LODGE_GATEWAY")]
    pub(crate) gateway: Option<String>,
    /// PEM file with the CA of the gateway; default is what the cluster says
    #[arg(long, global = true, value_name = "FILE", env = "LODGE_GATEWAY_CA")]
    pub(crate) gateway_ca: Option<std::path::PathBuf>,
    /// How long to try again while the workspace is not there yet, for instance because it was just created, or is too busy
    #[arg(long, global = true, value_name = "DURATION", default_value = "1m")]
    pub(crate) wait: WireDuration,
}

/// Where, as whom, and with which variables a command runs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Setting {
    /// Set a variable for the command (repeatable)
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE", value_parser = parse_env)]
    pub(crate) env: Vec<EnvVar>,
    /// Directory to run in; default is the home of the workspace's user
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Account in the workspace to run as; default is the workspace's user
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) run_as: Option<String>,
}

/// Reads `NAME=VALUE`.
fn parse_env(text: &str) -> Result<EnvVar, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(EnvVar { name: name.to_owned(), value: value.to_owned() })
        }
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn exec(arguments: &[&str]) -> Result<ExecArgs, String> {
        let line = ["kubectl-lodge", "exec"].iter().chain(arguments);
        match Args::try_parse_from(line).map_err(|error| error.to_string())?.command {
            Command::Exec(exec) => Ok(exec),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_is_the_program_and_its_arguments() {
        let exec = exec(&["ada", "--", "sh", "-c", "echo -n $0", "--", "-n"]).unwrap();
        assert_eq!(exec.name, "ada");
        assert_eq!(exec.command, ["sh", "-c", "echo -n $0", "--", "-n"]);
    }

    #[test]
    fn a_command_is_either_a_program_or_a_script() {
        assert_eq!(exec(&["ada", "-c", "a | b"]).unwrap().shell.as_deref(), Some("a | b"));
        assert!(exec(&["ada"]).unwrap_err().contains("COMMAND"));
        assert!(exec(&["ada", "-c", "x", "--", "y"]).unwrap_err().contains("cannot be used with"));
    }

    #[test]
    fn variables_are_written_as_name_and_value() {
        let env = exec(&["ada", "-e", "A=b=c", "--env", "B=", "--", "env"]).unwrap().setting.env;
        assert_eq!((env[0].name.as_str(), env[0].value.as_str()), ("A", "b=c"));
        assert_eq!((env[1].name.as_str(), env[1].value.as_str()), ("B", ""));
        assert!(exec(&["ada", "-e", "=x", "--", "env"]).unwrap_err().contains("NAME=VALUE"));
    }

    #[test]
    fn where_and_as_whom_can_stand_anywhere_before_the_dashes() {
        let line = ["kubectl-lodge", "exec", "-n", "team-a", "ada", "--context", "prod", "--", "true"];
        let cluster = Args::try_parse_from(line).unwrap().cluster;
        assert_eq!(cluster.namespace.as_deref(), Some("team-a"));
        assert_eq!(cluster.context.as_deref(), Some("prod"));
        assert_eq!(cluster.lodge_namespace, "lodge-system");
    }

    #[test]
    fn the_help_of_every_command_teaches_by_example() {
        let mut root = Args::command();
        root.build();
        let mut next: Vec<clap::Command> = root.get_subcommands().cloned().collect();
        while let Some(mut command) = next.pop() {
            next.extend(command.get_subcommands().cloned());
            if command.get_name() == "version" {
                continue;
            }
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n"), "{}: {help}", command.get_name());
        }
    }
}
