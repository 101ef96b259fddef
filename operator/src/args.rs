//! What the operator is told on its command line, and what that means.
//!
//! [`Args`] is what was typed; [`Config`] is what the rest of the program reads: parsed, defaulted, with units. Nothing else
//! in this crate looks at the command line or the environment. The chart's values mirror `Args` one to one.

mod runner;

pub use runner::{Packing, PullPolicy, RunnerArgs, RunnerConfig, Tolerations};

use clap::{Parser, ValueEnum};
use lodge_crds::Duration as TextDuration;
use std::{net::SocketAddr, time::Duration};

/// The Lodge operator: reconciles Workspaces, Sessions and CronJobs.
#[derive(Clone, Debug, Parser)]
#[command(name = "operator", version, about)]
pub struct Args {
    /// Namespace that Lodge is installed in: holds the certificate authority, the Lease and the gateway.
    #[arg(long, env = "POD_NAMESPACE", default_value = "lodge-system")]
    pub namespace: String,
    /// Name of this replica in the Lease and in Events; the pod's name.
    #[arg(long, env = "POD_NAME", default_value = "lodge-operator")]
    pub identity: String,
    /// Whether several replicas elect one leader by a Lease. `false` only for one replica on a developer's machine.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// How long a Lease is valid without a renewal: a crashed leader is replaced after about this time.
    #[arg(long, default_value = "15s")]
    pub lease_duration: TextDuration,

    /// How runner pods are made.
    #[command(flatten)]
    pub runner: RunnerArgs,
    /// How long a namespace keeps its runner after its last Workspace is gone, and a runner that is needed no more. `0s` removes it at once.
    #[arg(long, default_value = "60s")]
    pub runner_linger: TextDuration,
    /// How long a runner may be away before its Workspaces stop being Ready; covers a restart of its pod.
    #[arg(long, default_value = "10s")]
    pub runner_grace: TextDuration,

    /// Address of the gateway as users reach it, such as `https://lodge.example.com`; published to clients and in `status.url`.
    #[arg(long)]
    pub gateway_address: Option<String>,
    /// Further DNS name or IP address the gateway's certificate is valid for; may be given several times.
    #[arg(long)]
    pub gateway_dns_name: Vec<String>,

    /// How long the deletion of a Workspace waits for its runner before it is abandoned, with a Warning.
    #[arg(long, default_value = "2m")]
    pub deletion_deadline: TextDuration,
    /// Least time between two status writes of one Workspace that tell of nothing but power and usage.
    #[arg(long, default_value = "30s")]
    pub power_interval: TextDuration,
    /// How often Secrets and ConfigMaps that a Workspace refers to are read again, to push what changed in them.
    #[arg(long, default_value = "60s")]
    pub reference_interval: TextDuration,
    /// How many objects are reconciled at the same time.
    #[arg(long, default_value_t = 32)]
    pub concurrency: u16,

    /// Where `/healthz` and `/readyz` answer, in plain HTTP.
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub health_listen: SocketAddr,
    /// Where `/metrics` answers, in plain HTTP.
    #[arg(long, default_value = "0.0.0.0:9090")]
    pub metrics_listen: SocketAddr,
    /// Form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// What is logged, as in `RUST_LOG`.
    #[arg(long, env = "LODGE_LOG", default_value = "info")]
    pub log_filter: String,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What the arguments mean. Read once, in `main`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The namespace Lodge is installed in.
    pub namespace: String,
    /// Who this replica is, in the Lease and in Events.
    pub identity: String,
    /// How to elect a leader; `None` to lead without asking.
    pub lease_duration: Option<Duration>,
    /// How runner pods are made.
    pub runner: RunnerConfig,
    /// What is told about the gateway.
    pub gateway: GatewayConfig,
    /// How patient the operator is.
    pub timing: Timing,
    /// How many objects are reconciled at the same time.
    pub concurrency: u16,
    /// Where health is answered.
    pub health_listen: SocketAddr,
    /// Where metrics are answered.
    pub metrics_listen: SocketAddr,
    /// How to log.
    pub log: LogConfig,
}

/// What clients are told about the gateway, and what its certificate is valid for.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The address for users, without a slash at its end.
    pub address: Option<String>,
    /// Further names in its certificate.
    pub dns_names: Vec<String>,
}

/// The operator's times.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a namespace keeps its runner after its last Workspace is gone.
    pub runner_linger: Duration,
    /// How long a runner may be away before its Workspaces stop being Ready.
    pub runner_grace: Duration,
    /// How long a deletion waits for a runner.
    pub deletion_deadline: Duration,
    /// Least time between two status writes about power and usage only.
    pub power_interval: Duration,
    /// How often referenced Secrets and ConfigMaps are read again.
    pub reference_interval: Duration,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The form.
    pub format: LogFormat,
    /// What is logged.
    pub filter: String,
}

impl From<Args> for Config {
    fn from(args: Args) -> Self {
        // Without `..`: an argument that nobody gives a meaning to does not compile.
        let Args {
            namespace,
            identity,
            leader_elect,
            lease_duration,
            runner,
            runner_linger,
            runner_grace,
            gateway_address,
            gateway_dns_name,
            deletion_deadline,
            power_interval,
            reference_interval,
            concurrency,
            health_listen,
            metrics_listen,
            log_format,
            log_filter,
        } = args;
        Self {
            namespace,
            identity,
            lease_duration: leader_elect.then(|| lease_duration.get().max(MIN_LEASE_DURATION)),
            runner: runner.into(),
            gateway: GatewayConfig {
                address: gateway_address
                    .map(|address| address.trim_end_matches('/').to_owned())
                    .filter(|address| !address.is_empty()),
                dns_names: gateway_dns_name,
            },
            timing: Timing {
                runner_linger: runner_linger.get(),
                runner_grace: runner_grace.get(),
                deletion_deadline: deletion_deadline.get(),
                power_interval: power_interval.get(),
                reference_interval: reference_interval.get().max(MIN_REFERENCE_INTERVAL),
            },
            concurrency,
            health_listen,
            metrics_listen,
            log: LogConfig { format: log_format, filter: log_filter },
        }
    }
}

/// Shorter Leases would be lost to an ordinary pause of the API server.
const MIN_LEASE_DURATION: Duration = Duration::from_secs(3);
/// More often would be a load without a use.
const MIN_REFERENCE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn config(more: &[&str]) -> Config {
        Args::parse_from(["operator", "--runner-image=lodge/vm-runner:1"].iter().chain(more)).into()
    }

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_image_is_all_that_must_be_given() {
        let config = config(&[]);
        assert_eq!(config.namespace, "lodge-system");
        assert_eq!(config.timing.runner_linger, Duration::from_secs(60));
        assert_eq!(config.lease_duration, Some(Duration::from_secs(15)));
        assert!(Args::try_parse_from(["operator"]).is_err());
    }

    #[test]
    fn the_gateway_address_loses_its_trailing_slash() {
        assert_eq!(
            config(&["--gateway-address=https://a.b/"]).gateway.address.as_deref(),
            Some("https://a.b")
        );
        assert_eq!(config(&["--gateway-address="]).gateway.address, None);
    }

    #[test]
    fn scheduling_arguments_are_parsed_and_refused_with_a_way_out() {
        let config = config(&[
            "--runner-node-selector=pool=agents",
            "--runner-tolerations=[{\"key\":\"agents\",\"operator\":\"Exists\"}]",
        ]);
        assert_eq!(config.runner.node_selector["pool"], "agents");
        assert_eq!(config.runner.tolerations[0].key.as_deref(), Some("agents"));
        let error = Args::try_parse_from(["operator", "--runner-image=i", "--runner-node-selector=pool"])
            .unwrap_err();
        assert!(error.to_string().contains("key=value"), "{error}");
    }
}
