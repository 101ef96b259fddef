//! The command line, as typed. Nothing outside of this file and `main.rs` sees it: [`crate::Config`] is its meaning.
//!
//! Flags are the whole configuration; the environment only tells where the user's cache is.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::{Isolation, ListenAddress, Volume};

/// Runs Lodge's virtual machines: small computers for AI agents, in one process each.
#[derive(Debug, Parser)]
#[command(name = "vm-runner", version, about, max_term_width = 110)]
pub struct Args {
    /// How log lines are written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged: a level, or `target=level` pairs, such as `info,vm_runner=debug`
    #[arg(long, global = true, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve workspaces: the supervisor, which starts one vm process per awake workspace
    Serve(ServeArgs),
    /// Be the vm process of one workspace (started by `serve`, never by hand)
    #[command(hide = true)]
    Vm(VmArgs),
    /// Run one command in a throw-away VM, with standard input and output connected
    Run(RunArgs),
    /// Build or show the software that guests run
    #[command(subcommand)]
    Software(SoftwareCommand),
    /// Print the OpenAPI document of the runner's API
    Openapi,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Where to serve: `unix:PATH` or `ADDRESS:PORT`
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: ListenAddress,
    /// Folder for what must outlive a restart; one supervisor at a time
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Folder made by `vm-runner software build`
    #[arg(long, value_name = "DIR")]
    pub(crate) software: PathBuf,
    /// Serve without TLS to anybody who can connect; only on a Unix socket or a loopback address
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key", "tls_client_ca"])]
    pub(crate) dev: bool,
    /// Certificate chain of the server, PEM; read again when it changes
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Certificate authority of the clients, PEM
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Where to serve /healthz, /readyz and /metrics without TLS
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// vm processes kept warm for the next boots
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) spares: usize,
    /// Most workspaces
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) max_workspaces: usize,
    /// Most requests at once, over all workspaces
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) max_requests: usize,
    /// Most requests at once for one workspace, waiting for its boot or in it
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_requests_per_workspace: usize,
    /// A folder that workspaces may mount by NAME; may be repeated
    #[arg(long = "volume", value_name = "NAME=PATH[:ro]")]
    pub(crate) volumes: Vec<Volume>,
    /// Bytes of memory that this runner should stay below by putting idle workspaces to sleep [default: that of its
    /// cgroup]
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_limit: Option<u64>,
    /// Most vm processes at once that only answer reads of sleeping workspaces
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) max_readers: usize,
    /// What to do on a host whose kernel cannot bound a vm process's access to files (landlock, Linux 6.2): refuse, or
    /// go on with the system call filter alone
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Isolation::BestEffort)]
    pub(crate) isolation: Isolation,
    /// Seconds that a boot may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) boot_timeout: u64,
    /// Seconds that the guests of a VM get to end before they are killed, and requests when the supervisor stops
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) stop_grace: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VmArgs {
    /// Folder made by `vm-runner software build`
    #[arg(long, value_name = "DIR")]
    pub(crate) software: PathBuf,
    /// Milliseconds that guests get to end before they are killed
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500)]
    pub(crate) guest_grace: u64,
    /// Folder that gets the files of a workspace before it is booted
    #[arg(long, value_name = "DIR")]
    pub(crate) slot: Option<PathBuf>,
    /// A folder that the workspace may mount by NAME; may be repeated
    #[arg(long = "volume", value_name = "NAME=PATH[:ro]")]
    pub(crate) volumes: Vec<Volume>,
    /// Whether to go on where the kernel cannot bound access to files
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Isolation::BestEffort)]
    pub(crate) isolation: Isolation,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Folder made by `vm-runner software build`
    #[arg(long, value_name = "DIR")]
    pub(crate) software: PathBuf,
    /// Packages to install; may be repeated
    #[arg(long = "package", value_name = "NAME", default_value = "common")]
    pub(crate) packages: Vec<String>,
    /// An environment variable; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Working directory in the VM; the home directory if absent
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// Run as this user: `agent` or `root`
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) argv: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SoftwareCommand {
    /// Copy published packages and compile their programs ahead of time
    Build {
        /// A node_modules folder that holds the packages
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// What a workspace may name in spec.software, and what it is made of
        #[arg(long, value_name = "FILE")]
        packages: PathBuf,
        /// Where to write; what is there already is kept
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Folder that keeps compiled programs for other software folders [default: lodge/cwasm in the user's cache]
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
    },
    /// List the packages in a software folder with their commands
    List {
        /// Folder made by `vm-runner software build`
        #[arg(long, value_name = "DIR")]
        software: PathBuf,
    },
}

/// Where the user's programs keep what can be made again.
#[expect(clippy::disallowed_methods, reason = "host-facing: the only place that reads the environment")]
pub(crate) fn user_cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    cache.is_absolute().then(|| cache.join("lodge/cwasm"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn serving_without_certificates_needs_dev() {
        let base = ["vm-runner", "serve", "--listen", "unix:/tmp/x", "--data", "d", "--software", "s"];
        let error = Args::try_parse_from(base).unwrap_err().to_string();
        assert!(error.contains("--tls-cert"), "{error}");
        assert!(Args::try_parse_from(base.into_iter().chain(["--dev"])).is_ok());
    }

    #[test]
    fn everything_after_two_dashes_is_the_command() {
        let args =
            Args::try_parse_from(["vm-runner", "run", "--software", "s", "--", "sh", "-c", "echo --env"])
                .unwrap();
        let Command::Run(run) = args.command else { panic!("not a run") };
        assert_eq!(run.argv, ["sh", "-c", "echo --env"]);
    }
}
