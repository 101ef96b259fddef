//! The Secret with the runners' certificate.

use super::metadata;
use crate::{certificate::Leaf, runner::name::TLS_SECRET};
use k8s_openapi::{ByteString, api::core::v1::Secret};

pub(super) fn build_secret(namespace: &str, leaf: &Leaf) -> Secret {
    Secret {
        metadata: metadata(namespace, TLS_SECRET),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            leaf.write().into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect(),
        ),
        ..Secret::default()
    }
}
