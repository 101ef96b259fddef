//! The StatefulSet of a set of runners.

use super::{Claim, RunnerSet, Volume, labels, metadata};
use crate::{
    args::RunnerConfig,
    runner::name::{API_PORT, DATA_VOLUME, METRICS_PORT, RUNNER, TLS_SECRET},
};
use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            Capabilities, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction,
            LocalObjectReference, PersistentVolumeClaim, PersistentVolumeClaimSpec,
            PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
            SeccompProfile, SecretVolumeSource, SecurityContext, Volume as PodVolume, VolumeMount,
            VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use lodge_crds::label;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The user and group of a runner.
const NOBODY: i64 = 65532;
/// Where a runner keeps what must last.
const DATA_PATH: &str = "/var/lib/lodge";
/// Where the image has the guest software.
const SOFTWARE_PATH: &str = "/opt/lodge/software";
/// Where claims of the namespace are mounted, each in a folder of its own.
const CLAIMS_PATH: &str = "/var/lib/lodge-claims";
/// How long a pod may take to stop: requests drain, the guests of every VM are asked to end, then killed, and what they wrote is
/// flushed. All VMs do so at the same time; on a disk that is slow this takes a while, and what takes longer is cut off.
const STOP_SECONDS: i64 = 60;
/// How long a pod has to be ready before the next one is replaced: its workspaces are told to it in this time, which takes a
/// few milliseconds each, many at once.
const MIN_READY_SECONDS: i32 = 5;
/// Where the certificate is mounted.
const TLS_PATH: &str = "/etc/lodge/tls";

pub(super) fn build_stateful_set(namespace: &str, set: &RunnerSet, config: &RunnerConfig) -> StatefulSet {
    let mut metadata = metadata(namespace, set.name.as_str());
    metadata.labels = Some(set_labels(set));
    let pod = build_pod(set, config);
    let annotations = [
        ("kubectl.kubernetes.io/default-container", "vm-runner".to_owned()),
        // Something that is left out now would not be missed otherwise: fields of others don't count as drift.
        (label::CONFIG_HASH, hash(&pod)),
    ];
    let selector = BTreeMap::from([
        (label::APP_NAME.to_owned(), super::APP_NAME.to_owned()),
        (label::APP_INSTANCE.to_owned(), set.name.to_string()),
    ]);
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(i32::try_from(set.replicas).unwrap_or(i32::MAX)),
            service_name: Some(RUNNER.to_owned()),
            pod_management_policy: Some("Parallel".to_owned()),
            // One after the other, each only when the former one is ready again and has been for a moment. Parallel concerns
            // scaling only, except that a pod of a revision that never gets ready doesn't stand in the way of the next one.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: None,
            }),
            min_ready_seconds: Some(MIN_READY_SECONDS),
            selector: LabelSelector { match_labels: Some(selector), match_expressions: None },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(set_labels(set)),
                    annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            volume_claim_templates: Some(vec![build_claim(set)]),
            // Data goes when the operator says so: a StatefulSet deleted by accident must not take it along.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

/// Tells one form of a pod apart from another.
fn hash(pod: &PodSpec) -> String {
    // Only maps with keys that aren't text could fail, and there are none.
    let hash = Sha256::digest(serde_json::to_vec(pod).unwrap_or_default());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Labels of the set, its pods and its claims.
fn set_labels(set: &RunnerSet) -> BTreeMap<String, String> {
    let mut labels = labels();
    labels.insert(label::APP_INSTANCE.to_owned(), set.name.to_string());
    labels.insert(label::RUNNER.to_owned(), set.name.to_string());
    labels.insert(label::ISOLATION.to_owned(), format!("{:?}", set.isolation));
    labels
}

fn build_claim(set: &RunnerSet) -> PersistentVolumeClaim {
    let Volume { size, storage_class } = &set.volume;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA_VOLUME.to_owned()),
            labels: Some(set_labels(set)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size.clone())])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn build_pod(set: &RunnerSet, config: &RunnerConfig) -> PodSpec {
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(STOP_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NOBODY),
            run_as_group: Some(NOBODY),
            fs_group: Some(NOBODY),
            // A volume full of files would take minutes to go through at every start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        node_selector: (!set.node_selector.is_empty()).then(|| set.node_selector.clone()),
        tolerations: (!set.tolerations.is_empty()).then(|| set.tolerations.clone()),
        runtime_class_name: set.runtime_class.clone(),
        priority_class_name: config.priority_class.clone(),
        image_pull_secrets: (!config.pull_secrets.is_empty()).then(|| {
            config.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect()
        }),
        containers: vec![build_container(set, config)],
        volumes: Some(build_volumes(set)),
        ..PodSpec::default()
    }
}

fn build_volumes(set: &RunnerSet) -> Vec<PodVolume> {
    let certificate = PodVolume {
        name: "tls".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(TLS_SECRET.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..PodVolume::default()
    };
    let claims = set.claims.iter().map(|(name, Claim { volume, read_only })| PodVolume {
        name: volume.clone(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: name.clone(),
            read_only: read_only.then_some(true),
        }),
        ..PodVolume::default()
    });
    [certificate, empty_dir("tmp", "256Mi"), empty_dir("run", "64Mi")].into_iter().chain(claims).collect()
}

fn build_container(set: &RunnerSet, config: &RunnerConfig) -> Container {
    let mount = |name: &str, path: &str, read_only: Option<bool>| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    let port = |name: &str, number: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let own = [
        mount(DATA_VOLUME, DATA_PATH, None),
        mount("tls", TLS_PATH, Some(true)),
        mount("tmp", "/tmp", None),
        mount("run", "/run/lodge", None),
    ];
    let claims = set
        .claims
        .values()
        .map(|Claim { volume, read_only }| mount(volume, &claim_path(volume), read_only.then_some(true)));
    let mounts = own.into_iter().chain(claims).collect();
    Container {
        name: "vm-runner".to_owned(),
        image: Some(config.image.clone()),
        image_pull_policy: Some(config.pull_policy.as_str().to_owned()),
        args: Some(arguments(set, config)),
        ports: Some(vec![port("api", API_PORT), port("metrics", METRICS_PORT)]),
        resources: Some(set.resources.clone()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            seccomp_profile: Some(runtime_default()),
            ..SecurityContext::default()
        }),
        liveness_probe: Some(probe("/healthz", 10, 3)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn claim_path(volume: &str) -> String {
    format!("{CLAIMS_PATH}/{volume}")
}

fn arguments(set: &RunnerSet, config: &RunnerConfig) -> Vec<String> {
    let claims = set.claims.values().map(|Claim { volume, read_only }| {
        format!("--volume={volume}={}{}", claim_path(volume), if *read_only { ":ro" } else { "" })
    });
    let arguments = [
        "serve".to_owned(),
        format!("--listen=0.0.0.0:{API_PORT}"),
        format!("--data={DATA_PATH}"),
        format!("--software={SOFTWARE_PATH}"),
        format!("--tls-cert={TLS_PATH}/tls.crt"),
        format!("--tls-key={TLS_PATH}/tls.key"),
        format!("--tls-client-ca={TLS_PATH}/ca.crt"),
        format!("--metrics-listen=0.0.0.0:{METRICS_PORT}"),
    ];
    arguments.into_iter().chain(claims).chain(config.arguments.iter().cloned()).collect()
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("metrics".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn empty_dir(name: &str, limit: &str) -> PodVolume {
    PodVolume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { medium: None, size_limit: Some(Quantity(limit.to_owned())) }),
        ..PodVolume::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}
