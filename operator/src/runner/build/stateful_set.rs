//! The StatefulSet of a set of runners.

use super::{RunnerSet, Volume, labels, metadata};
use crate::{
    args::RunnerConfig,
    runner::name::{API_PORT, DATA_VOLUME, METRICS_PORT, RUNNER, TLS_SECRET},
};
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec},
        core::v1::{
            Capabilities, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction,
            PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec, PodTemplateSpec,
            Probe, SeccompProfile, SecretVolumeSource, SecurityContext, Volume as PodVolume, VolumeMount,
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
use std::collections::BTreeMap;

/// The user and group of a runner.
const NOBODY: i64 = 65532;
/// Where a runner keeps what must last.
const DATA_PATH: &str = "/var/lib/lodge";
/// Where the image has the guest software.
const SOFTWARE_PATH: &str = "/opt/lodge/software";
/// Where the certificate is mounted.
const TLS_PATH: &str = "/etc/lodge/tls";

pub(super) fn build_stateful_set(namespace: &str, set: &RunnerSet, config: &RunnerConfig) -> StatefulSet {
    let mut metadata = metadata(namespace, set.name.as_str());
    metadata.labels = Some(set_labels(set));
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
            selector: LabelSelector { match_labels: Some(selector), match_expressions: None },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(set_labels(set)),
                    annotations: Some(BTreeMap::from([(
                        "kubectl.kubernetes.io/default-container".to_owned(),
                        "vm-runner".to_owned(),
                    )])),
                    ..ObjectMeta::default()
                }),
                spec: Some(build_pod(set, config)),
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
        termination_grace_period_seconds: Some(30),
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
        containers: vec![build_container(set, config)],
        volumes: Some(vec![
            PodVolume {
                name: "tls".to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(TLS_SECRET.to_owned()),
                    default_mode: Some(0o440),
                    ..SecretVolumeSource::default()
                }),
                ..PodVolume::default()
            },
            empty_dir("tmp", "256Mi"),
            empty_dir("run", "64Mi"),
        ]),
        ..PodSpec::default()
    }
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
    Container {
        name: "vm-runner".to_owned(),
        image: Some(config.image.clone()),
        image_pull_policy: Some(config.pull_policy.as_str().to_owned()),
        args: Some(arguments()),
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
        volume_mounts: Some(vec![
            mount(DATA_VOLUME, DATA_PATH, None),
            mount("tls", TLS_PATH, Some(true)),
            mount("tmp", "/tmp", None),
            mount("run", "/run/lodge", None),
        ]),
        ..Container::default()
    }
}

fn arguments() -> Vec<String> {
    vec![
        "serve".to_owned(),
        format!("--listen=0.0.0.0:{API_PORT}"),
        format!("--data={DATA_PATH}"),
        format!("--software={SOFTWARE_PATH}"),
        format!("--tls-cert={TLS_PATH}/tls.crt"),
        format!("--tls-key={TLS_PATH}/tls.key"),
        format!("--tls-client-ca={TLS_PATH}/ca.crt"),
        format!("--metrics-listen=0.0.0.0:{METRICS_PORT}"),
    ]
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
