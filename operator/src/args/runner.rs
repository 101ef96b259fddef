//! What the operator is told about runner pods.

use clap::ValueEnum;
use k8s_openapi::api::core::v1::Toleration;
use lodge_crds::Quantity;
use std::collections::BTreeMap;

/// What was typed about runner pods.
#[derive(Clone, Debug, clap::Args)]
pub struct RunnerArgs {
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
    /// Priority class of runner pods, dedicated ones too.
    #[arg(long)]
    pub runner_priority_class: Option<String>,
    /// Namespace whose pods may scrape the runners' metrics, besides Lodge's own; may be given several times.
    #[arg(long)]
    pub runner_scrape_namespace: Vec<String>,
    /// Further argument of `vm-runner serve`, whole, such as `--runner-arg=--isolation=strict`; may be given several times. It
    /// has to be one that the operator doesn't give itself.
    #[arg(long, allow_hyphen_values = true)]
    pub runner_arg: Vec<String>,
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
    /// Priority class.
    pub priority_class: Option<String>,
    /// Namespaces whose pods may scrape metrics, besides Lodge's own.
    pub scrape_namespaces: Vec<String>,
    /// Further arguments of `vm-runner serve`.
    pub arguments: Vec<String>,
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

impl From<RunnerArgs> for RunnerConfig {
    fn from(args: RunnerArgs) -> Self {
        // Without `..`: an argument that nobody gives a meaning to does not compile.
        let RunnerArgs {
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
            runner_priority_class,
            runner_scrape_namespace,
            runner_arg,
            runner_max_workspaces,
            runner_storage_overcommit,
            runner_max_replicas,
            runner_max_rolling,
        } = args;
        Self {
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
            priority_class: runner_priority_class.filter(|class| !class.is_empty()),
            scrape_namespaces: runner_scrape_namespace.into_iter().filter(|name| !name.is_empty()).collect(),
            arguments: runner_arg.into_iter().filter(|argument| !argument.is_empty()).collect(),
            packing: Packing {
                max_workspaces: runner_max_workspaces,
                storage_overcommit: runner_storage_overcommit,
                max_replicas: runner_max_replicas,
                max_rolling: runner_max_rolling,
            },
        }
    }
}

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
