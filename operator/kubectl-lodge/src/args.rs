//! The command line. Help teaches by example: who has read it once can use the plugin.

use clap::{Parser, Subcommand};
use vm_api::{EnvVar, WireDuration};

const EXAMPLES: &str = "\
Examples:
  # Run a program in workspace ada of the current namespace
  kubectl lodge exec ada -- uname -a

  # Run a shell command line: pipes, redirections, variables
  kubectl lodge exec ada -c 'grep -r TODO src | wc -l'

  # See why a workspace is not ready
  kubectl lodge status ada";

const EXEC_EXAMPLES: &str = "\
Examples:
  # A program with its arguments, passed on as they are
  kubectl lodge exec ada -- ls -la /home/agent

  # A shell command line
  kubectl lodge exec ada -c 'make test 2>&1 | tail -20'

  # In another namespace, in a directory, with a variable and a time limit
  kubectl lodge exec ada -n team-a -w /work -e CI=1 --timeout 5m -- make

  # Standard input from here, standard output to here
  kubectl lodge exec ada -i -- tar xzf - < project.tgz
  kubectl lodge exec ada -- tar czf - project > project.tgz

Exit codes:
  that of the command, or 128 and the number of the signal that ended it;
  124 if --timeout ended it, 127 if there is no such command, 126 if it cannot be run,
  125 if Lodge could not run it or not deliver all of its output";

const STATUS_EXAMPLES: &str = "\
Examples:
  kubectl lodge status ada -n team-a

Exit codes:
  0 if the workspace is ready (asleep or not), 1 if it is not, 125 if that could not be found out";

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
    /// Explain the state of a workspace
    Status(StatusArgs),
    /// Print the version of this plugin
    Version,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXEC_EXAMPLES)]
#[command(override_usage = "kubectl lodge exec NAME [OPTIONS] -- COMMAND [ARG]...\n       \
                            kubectl lodge exec NAME [OPTIONS] -c SCRIPT")]
pub(crate) struct ExecArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Program and arguments, run without a shell
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "shell")]
    pub(crate) command: Vec<String>,
    /// Shell command line, run by /bin/sh -c
    #[arg(short = 'c', long, value_name = "SCRIPT", conflicts_with = "command")]
    pub(crate) shell: Option<String>,
    /// Give the command the standard input of this command
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Set a variable for the command (repeatable)
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE", value_parser = parse_env)]
    pub(crate) env: Vec<EnvVar>,
    /// Directory to run in; default is the home of the workspace's user
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Account in the workspace to run as; default is the workspace's user
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) run_as: Option<String>,
    /// End the command after this, such as 30s or 5m; default and most is spec.limits.commandTimeout
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<WireDuration>,
    /// How long to try again while the workspace is not there yet, for instance because it was just created
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub(crate) wait: WireDuration,
}

#[derive(Debug, clap::Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct StatusArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Which cluster, as whom, and where the gateway is.
#[derive(Clone, Debug, Default, clap::Args)]
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
}

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
            Command::Status(_) | Command::Version => panic!("{arguments:?}"),
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
        let env = exec(&["ada", "-e", "A=b=c", "--env", "B=", "--", "env"]).unwrap().env;
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
    fn help_teaches_by_example() {
        let help = exec(&["--help"]).unwrap_err();
        assert!(help.contains("kubectl lodge exec ada -- ls -la"), "{help}");
        assert!(help.contains("Exit codes:"), "{help}");
    }
}
