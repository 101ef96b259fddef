//! What the operator is told on its command line, and what that means.
//!
//! [`Args`] is what was typed; [`Config`] is what the rest of the program reads: parsed, defaulted, with units. Nothing else
//! in this crate looks at the command line or the environment. The chart's values mirror `Args` one to one.

use clap::{Parser, ValueEnum};
use k8s_openapi::api::core::v1::Toleration;
use lodge_crds::{Duration as TextDuration, Quantity};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

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

    /// Image of the vm-runner.
    #[arg(long)]
    pub runner_image: String,
    /// When the kubelet pulls the vm-runner's image.
    #[arg(long, value_enum, default_value_t = PullPolicy::IfNotPresent)]
    pub runner_image_pull_policy: PullPolicy,
    /// Name of a Secret with which the vm-runner's image is pulled; may be given several times. It has to exist in every
    /// namespace with Workspaces: the operator never copies a Secret.
    #[arg(long)]
    pub runner_image_pull_secret: Vec<String>,
    /// Processor time requested for a shared runner pod.
    #[arg(long, default_value = "100m")]
    pub runner_cpu_request: Quantity,
    /// Memory requested for a shared runner pod.
    #[arg(long, default_value = "256Mi")]
    pub runner_memory_request: Quantity,
    /// Processor time a shared runner pod may use; unlimited if not given.
    #[arg(long)]
    pub runner_cpu_limit: Option<Quantity>,
    /// Memory a shared runner pod may use; unlimited if not given.
    #[arg(long)]
    pub runner_memory_limit: Option<Quantity>,
    /// Size of a shared runner's volume.
    #[arg(long, default_value = "10Gi")]
    pub runner_storage_size: Quantity,
    /// Storage class of the runners' volumes; the cluster's default if not given.
    #[arg(long)]
    pub runner_storage_class: Option<String>,
    /// Node label a shared runner pod needs, as `key=value`; may be given several times.
    #[arg(long, value_parser = parse_pair)]
    pub runner_node_selector: Vec<(String, String)>,
    /// Tolerations of shared runner pods, as a JSON list in the form of a pod's `spec.tolerations`.
    #[arg(long, default_value = "[]", value_parser = parse_tolerations)]
    pub runner_tolerations: Tolerations,
    /// Runtime class of shared runner pods.
    #[arg(long)]
    pub runner_runtime_class: Option<String>,
    /// Most Workspaces of one shared runner. What is bounded by it: how many of them the loss of one pod stops, how long its
    /// successor takes to be told all of them, and how much memory they want when all of them are awake.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub runner_max_workspaces: u32,
    /// How many times the size of its volume the Workspaces of one shared runner may ask for, all together. `spec.storage.size`
    /// is a limit and nothing is set aside for it; 1 makes sure that no volume gets full before a limit is hit.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub runner_storage_overcommit: u32,
    /// Most shared runners of a namespace. A new one is made when all are full; beyond this number Workspaces wait, with the
    /// reason RunnersFull.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runner_max_replicas: u32,
    /// Most namespaces whose runners are replaced at the same time when the image or the form of the pods changes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub runner_max_rolling: u32,
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

/// When the kubelet pulls an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// At each start of a pod.
    Always,
    /// When the node has none.
    IfNotPresent,
    /// Never: the image has to be there.
    Never,
}

impl PullPolicy {
    /// As a pod's `imagePullPolicy` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Tolerations of a pod, parsed from JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tolerations(pub Vec<Toleration>);

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

/// How shared runner pods are made; a dedicated runner overrides some of it.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// The vm-runner's image.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// Names of the Secrets it is pulled with.
    pub pull_secrets: Vec<String>,
    /// Requested processor time.
    pub cpu_request: Quantity,
    /// Requested memory.
    pub memory_request: Quantity,
    /// Most processor time.
    pub cpu_limit: Option<Quantity>,
    /// Most memory.
    pub memory_limit: Option<Quantity>,
    /// Size of the volume.
    pub storage_size: Quantity,
    /// Class of the volume.
    pub storage_class: Option<String>,
    /// Labels a node needs.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that don't matter.
    pub tolerations: Vec<Toleration>,
    /// Runtime class.
    pub runtime_class: Option<String>,
    /// How much runs on them.
    pub packing: Packing,
}

/// How Workspaces are packed onto shared runners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Most Workspaces of a runner.
    pub max_workspaces: u32,
    /// How many times the size of its volume they may ask for.
    pub storage_overcommit: u32,
    /// Most runners of a namespace.
    pub max_replicas: u32,
    /// Most sets of runners that are replaced at the same time.
    pub max_rolling: u32,
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
            runner_image,
            runner_image_pull_policy,
            runner_image_pull_secret,
            runner_cpu_request,
            runner_memory_request,
            runner_cpu_limit,
            runner_memory_limit,
            runner_storage_size,
            runner_storage_class,
            runner_node_selector,
            runner_tolerations,
            runner_runtime_class,
            runner_max_workspaces,
            runner_storage_overcommit,
            runner_max_replicas,
            runner_max_rolling,
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
            runner: RunnerConfig {
                image: runner_image,
                pull_policy: runner_image_pull_policy,
                pull_secrets: runner_image_pull_secret.into_iter().filter(|name| !name.is_empty()).collect(),
                cpu_request: runner_cpu_request,
                memory_request: runner_memory_request,
                cpu_limit: runner_cpu_limit,
                memory_limit: runner_memory_limit,
                storage_size: runner_storage_size,
                storage_class: runner_storage_class.filter(|class| !class.is_empty()),
                node_selector: runner_node_selector.into_iter().collect(),
                tolerations: runner_tolerations.0,
                runtime_class: runner_runtime_class.filter(|class| !class.is_empty()),
                packing: Packing {
                    max_workspaces: runner_max_workspaces,
                    storage_overcommit: runner_storage_overcommit,
                    max_replicas: runner_max_replicas,
                    max_rolling: runner_max_rolling,
                },
            },
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

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} isn't a label: write key=value")),
    }
}

fn parse_tolerations(text: &str) -> Result<Tolerations, String> {
    serde_json::from_str(text).map(Tolerations).map_err(|error| {
        format!("not a JSON list of tolerations ({error}): write [{{\"key\": …, \"operator\": \"Exists\"}}] as in a pod's spec")
    })
}

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
