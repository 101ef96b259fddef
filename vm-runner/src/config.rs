//! What the command line means: checked once, in `main`, with units in the types.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::args::{Args, Command, LogFormat, RunArgs, ServeArgs, SoftwareCommand, VmArgs, user_cache};

/// What this process is to do.
#[derive(Debug)]
pub struct Config {
    pub(crate) log: LogConfig,
    pub(crate) task: TaskConfig,
}

/// How and what to log.
#[derive(Debug)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

/// One of the faces of the binary.
#[derive(Debug)]
pub(crate) enum TaskConfig {
    Serve(ServeConfig),
    Vm(VmConfig),
    Run(RunConfig),
    SoftwareBuild {
        node_modules: PathBuf,
        packages: PathBuf,
        out: PathBuf,
        cache: Option<PathBuf>,
    },
    SoftwareList {
        software: PathBuf,
    },
    /// Print the OpenAPI document.
    OpenApi,
}

/// The supervisor's configuration.
#[derive(Clone, Debug)]
pub(crate) struct ServeConfig {
    pub(crate) listen: ListenAddress,
    pub(crate) data: PathBuf,
    pub(crate) software: PathBuf,
    /// Absent with `--dev`.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) spares: usize,
    pub(crate) max_workspaces: usize,
    pub(crate) max_requests: usize,
    pub(crate) max_requests_per_workspace: usize,
    pub(crate) volumes: Vec<Volume>,
    /// In place of the cgroup's limit.
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) max_readers: usize,
    pub(crate) isolation: Isolation,
    pub(crate) boot_timeout: Duration,
    pub(crate) stop_grace: Duration,
    /// Passed on to the vm processes.
    pub(crate) log_arguments: Vec<String>,
}

/// Where the supervisor's certificates are.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_authority: PathBuf,
}

/// A vm process's configuration, before it is given a workspace.
#[derive(Clone, Debug)]
pub(crate) struct VmConfig {
    pub(crate) software: PathBuf,
    /// What guests get to end by themselves when the VM stops.
    pub(crate) guest_grace: Duration,
    /// Absent when started by hand; then files live in memory.
    pub(crate) slot: Option<PathBuf>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) isolation: Isolation,
}

/// A throw-away VM's configuration.
#[derive(Clone, Debug)]
pub(crate) struct RunConfig {
    pub(crate) software: PathBuf,
    pub(crate) packages: Vec<String>,
    pub(crate) env: Vec<vm_api::EnvVar>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) argv: Vec<String>,
}

/// What is wrong with the command line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Without TLS everybody who can connect is trusted.
    #[error(
        "--dev serves without TLS and may only listen on a unix socket or a loopback address, not on {0}"
    )]
    PublicDevelopmentServer(SocketAddr),
    /// Clap demands these together; this is for the compiler.
    #[error("--tls-cert, --tls-key and --tls-client-ca are needed together (or --dev)")]
    IncompleteTls,
    /// `--env` without a value.
    #[error("--env {0:?}: expected NAME=VALUE")]
    Env(String),
    /// Two volumes of one name.
    #[error("--volume {0} is given twice")]
    VolumeTwice(String),
    /// A limit of zero would refuse everything.
    #[error("--{0} must be at least 1")]
    Zero(&'static str),
}

impl TryFrom<Args> for Config {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self, Error> {
        let Args { log_format, log, command } = args;
        let log = LogConfig { format: log_format, filter: log };
        let task = match command {
            Command::Serve(serve) => TaskConfig::Serve(serve_config(serve, &log)?),
            Command::Vm(VmArgs { software, guest_grace, slot, volumes, isolation }) => {
                let guest_grace = Duration::from_millis(guest_grace);
                TaskConfig::Vm(VmConfig { software, guest_grace, slot, volumes, isolation })
            }
            Command::Run(run) => TaskConfig::Run(run_config(run)?),
            Command::Software(SoftwareCommand::Build { from, packages, out, cache }) => {
                TaskConfig::SoftwareBuild {
                    node_modules: from,
                    packages,
                    out,
                    cache: cache.or_else(user_cache),
                }
            }
            Command::Software(SoftwareCommand::List { software }) => TaskConfig::SoftwareList { software },
            Command::Openapi => TaskConfig::OpenApi,
        };
        Ok(Self { log, task })
    }
}

fn serve_config(args: ServeArgs, log: &LogConfig) -> Result<ServeConfig, Error> {
    let ServeArgs {
        listen,
        data,
        software,
        dev,
        tls_cert,
        tls_key,
        tls_client_ca,
        metrics_listen,
        spares,
        max_workspaces,
        max_requests,
        max_requests_per_workspace,
        volumes,
        memory_limit,
        max_readers,
        isolation,
        boot_timeout,
        stop_grace,
    } = args;
    let tls = match (dev, tls_cert, tls_key, tls_client_ca) {
        (false, Some(certificate), Some(key), Some(client_authority)) => {
            Some(TlsFiles { certificate, key, client_authority })
        }
        (true, ..) => None,
        (false, ..) => return Err(Error::IncompleteTls),
    };
    if let (None, ListenAddress::Tcp(address)) = (&tls, &listen)
        && !address.ip().is_loopback()
    {
        return Err(Error::PublicDevelopmentServer(*address));
    }
    let numbers = [
        ("max-workspaces", max_workspaces),
        ("max-requests", max_requests),
        ("max-requests-per-workspace", max_requests_per_workspace),
        ("max-readers", max_readers),
    ];
    if let Some((name, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
        return Err(Error::Zero(name));
    }
    Ok(ServeConfig {
        listen,
        data,
        software,
        tls,
        metrics_listen,
        spares,
        max_workspaces,
        max_requests,
        max_requests_per_workspace,
        volumes: unique(volumes)?,
        memory_limit_bytes: memory_limit,
        max_readers,
        isolation,
        boot_timeout: Duration::from_secs(boot_timeout),
        stop_grace: Duration::from_secs(stop_grace),
        log_arguments: log.arguments(),
    })
}

fn unique(volumes: Vec<Volume>) -> Result<Vec<Volume>, Error> {
    let mut names = HashSet::new();
    match volumes.iter().find(|volume| !names.insert(volume.name.as_str())) {
        Some(volume) => Err(Error::VolumeTwice(volume.name.clone())),
        None => Ok(volumes),
    }
}

fn run_config(args: RunArgs) -> Result<RunConfig, Error> {
    let RunArgs { software, packages, env, cwd, user, argv } = args;
    let env = env
        .into_iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => Ok(vm_api::EnvVar::new(name, value)),
            None => Err(Error::Env(pair)),
        })
        .collect::<Result<_, _>>()?;
    Ok(RunConfig { software, packages, env, cwd, user, argv })
}

impl LogConfig {
    /// The flags that give another process of this binary the same log.
    fn arguments(&self) -> Vec<String> {
        let format = match self.format {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        };
        vec!["--log-format".to_owned(), format.to_owned(), "--log".to_owned(), self.filter.clone()]
    }
}

/// How much isolation of vm processes is demanded of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Isolation {
    /// Refuse to run where one of the mechanisms is missing
    Strict,
    /// Run with those that there are, and say so
    BestEffort,
}

impl Isolation {
    /// The flag's value.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::BestEffort => "best-effort",
        }
    }
}

/// A folder of the host that workspaces may mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) name: String,
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("expected NAME=PATH or NAME=PATH:ro")?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(is_name) {
            return Err(format!("the name {name:?} is not 1 to 63 of a-z, 0-9 and '-'"));
        }
        let (path, read_only) = match path.strip_suffix(":ro") {
            Some(path) => (path, true),
            None => (path, false),
        };
        if !path.starts_with('/') {
            return Err(format!("the path {path:?} is not absolute"));
        }
        Ok(Self { name: name.to_owned(), path: PathBuf::from(path), read_only })
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, path, read_only } = self;
        write!(f, "{name}={}{}", path.display(), if *read_only { ":ro" } else { "" })
    }
}

/// Where to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("expected a path after unix:".to_owned()),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text.parse().map(Self::Tcp).map_err(|_| "expected unix:PATH or ADDRESS:PORT".to_owned()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn config(extra: &[&str]) -> Result<Config, Error> {
        let base = ["vm-runner", "serve", "--data", "d", "--software", "s"];
        Config::try_from(Args::try_parse_from(base.iter().chain(extra)).unwrap())
    }

    #[test]
    fn a_volume_is_read_as_it_is_written() {
        for text in ["data=/srv/data", "models=/srv/models:ro"] {
            assert_eq!(text.parse::<Volume>().unwrap().to_string(), text);
        }
        for text in ["data", "=/srv", "Data=/srv", "data=srv", "a/b=/srv"] {
            assert!(text.parse::<Volume>().is_err(), "{text}");
        }
        let twice = ["--dev", "--listen", "unix:/s", "--volume", "a=/x", "--volume", "a=/y"];
        assert!(config(&twice).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn a_server_without_tls_never_listens_to_the_world() {
        let error = config(&["--dev", "--listen", "0.0.0.0:7443"]).unwrap_err();
        assert!(error.to_string().contains("0.0.0.0:7443"), "{error}");
        assert!(config(&["--dev", "--listen", "127.0.0.1:0"]).is_ok());
        assert!(config(&["--dev", "--listen", "[::1]:0"]).is_ok());
    }

    #[test]
    fn a_limit_of_zero_is_refused_by_name() {
        let error = config(&["--dev", "--listen", "unix:/x", "--max-requests", "0"]).unwrap_err();
        assert!(error.to_string().contains("--max-requests"), "{error}");
    }

    #[test]
    fn an_address_is_a_socket_path_or_a_port() {
        assert_eq!("unix:/a/b".parse(), Ok(ListenAddress::Unix("/a/b".into())));
        assert_eq!("127.0.0.1:80".parse(), Ok(ListenAddress::Tcp("127.0.0.1:80".parse().unwrap())));
        assert!("localhost".parse::<ListenAddress>().is_err());
        assert!("unix:".parse::<ListenAddress>().is_err());
    }
}
