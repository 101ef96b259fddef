//! The headless Service that gives runner pods their names. Nobody balances load over runners: a workspace has one.

use super::{metadata, selector};
use crate::runner::name::{API_PORT, RUNNER};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

pub(super) fn build_service(namespace: &str) -> Service {
    Service {
        metadata: metadata(namespace, RUNNER),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            // A pod has its name before it is ready: whoever holds a request for it may connect at once.
            publish_not_ready_addresses: Some(true),
            selector: Some(selector()),
            ports: Some(vec![ServicePort {
                name: Some("api".to_owned()),
                port: API_PORT.into(),
                target_port: Some(IntOrString::String("api".to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
