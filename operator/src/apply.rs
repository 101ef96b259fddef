//! Applying an object by server-side apply: only ours, and only if something would change.
//!
//! An object that exists without our label is somebody else's and is never touched. What there is is compared with what is
//! wanted field by field; fields that we don't set (defaults, status) don't count. So a reconcile of what is as it shall be
//! writes nothing.

use crate::metrics::Metrics;
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use lodge_crds::{Quantity, label};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    fmt::{self, Debug},
    sync::Arc,
};

/// Why an object was not applied or deleted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is one of this name that is somebody else's.
    #[error(
        "{kind} {name} exists and isn't managed by Lodge: rename or delete it, or give it the label {managed_by}={manager} to hand it over",
        managed_by = label::APP_MANAGED_BY,
        manager = label::FIELD_MANAGER
    )]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server did not do it.
    #[error("could not {verb} {kind} {name}: {source}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl Error {
    /// Whether the API server understood and refused: trying again the same is of no use.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Foreign { .. } => true,
            Self::Api { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422))
            }
        }
    }
}

/// Who applies.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    metrics: Arc<Metrics>,
}

impl Debug for Applier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Applier")
    }
}

/// A kind that is applied: it has a namespace, and its type says what it is.
pub trait Applied:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned
{
    /// The plural of its kind, for metrics.
    const RESOURCE: &'static str;
}

impl Applied for k8s_openapi::api::apps::v1::StatefulSet {
    const RESOURCE: &'static str = "statefulsets";
}
impl Applied for k8s_openapi::api::core::v1::Service {
    const RESOURCE: &'static str = "services";
}
impl Applied for k8s_openapi::api::core::v1::Secret {
    const RESOURCE: &'static str = "secrets";
}
impl Applied for k8s_openapi::api::core::v1::ConfigMap {
    const RESOURCE: &'static str = "configmaps";
}
impl Applied for k8s_openapi::api::core::v1::PersistentVolumeClaim {
    const RESOURCE: &'static str = "persistentvolumeclaims";
}
impl Applied for k8s_openapi::api::networking::v1::NetworkPolicy {
    const RESOURCE: &'static str = "networkpolicies";
}

impl Applier {
    /// Applies with this client.
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics }
    }

    /// Makes the object what it shall be. `live` is what a watch of *our* objects knows of it.
    ///
    /// # Errors
    /// If it is somebody else's, or the API server refuses.
    pub async fn apply<K: Applied>(&self, wanted: &K, live: Option<&K>) -> Result<(), Error> {
        if let Some(live) = live
            && is_ours(live.meta())
            && is_as_wanted(wanted, live)
        {
            return Ok(());
        }
        let (name, api) = (wanted.name_any(), self.api::<K>(wanted.meta()));
        // The watch shows only what bears our label, and may lag behind: look before taking over.
        let found = api.get_metadata_opt(&name).await.map_err(|source| failed::<K>("get", &name, source))?;
        if found.is_some_and(|found| !is_ours(&found.metadata)) {
            return Err(Error::Foreign { kind: K::kind(&()).into_owned(), name });
        }
        let parameters = PatchParams::apply(label::FIELD_MANAGER).force();
        self.metrics.wrote(K::RESOURCE, "apply");
        let applied = api.patch(&name, &parameters, &Patch::Apply(wanted)).await;
        applied.map(|_| ()).map_err(|source| failed::<K>("apply", &name, source))
    }

    /// Deletes an object of ours. It is no error if it is gone.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn delete<K: Applied>(&self, live: &K) -> Result<(), Error> {
        if live.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let name = live.name_any();
        // Not one that somebody made anew under this name.
        let preconditions = Some(Preconditions { uid: live.uid(), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::background() };
        self.metrics.wrote(K::RESOURCE, "delete");
        match self.api::<K>(live.meta()).delete(&name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(source) => Err(failed::<K>("delete", &name, source)),
        }
    }

    fn api<K: Applied>(&self, metadata: &ObjectMeta) -> Api<K> {
        Api::namespaced(self.client.clone(), metadata.namespace.as_deref().unwrap_or_default())
    }
}

fn failed<K: Applied>(verb: &'static str, name: &str, source: kube::Error) -> Error {
    Error::Api { verb, kind: K::kind(&()).into_owned(), name: name.to_owned(), source: Box::new(source) }
}

fn is_ours(metadata: &ObjectMeta) -> bool {
    let manager = metadata.labels.as_ref().and_then(|labels| labels.get(label::APP_MANAGED_BY));
    manager.is_some_and(|manager| manager == label::FIELD_MANAGER)
}

/// Whether everything that `wanted` says is so in `live`.
pub(crate) fn is_as_wanted<K: Serialize>(wanted: &K, live: &K) -> bool {
    match (serde_json::to_value(wanted), serde_json::to_value(live)) {
        (Ok(wanted), Ok(live)) => contains(&live, &wanted),
        _ => false,
    }
}

fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (_, Value::Null) => true,
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| live.get(key).map_or(is_empty(wanted), |live| contains(live, wanted))),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        // The API server rewrites quantities: 1024Mi comes back as 1Gi.
        (Value::String(live), Value::String(wanted)) => live == wanted || is_same_quantity(live, wanted),
        _ => live == wanted,
    }
}

/// What the API server leaves out when it stores it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn is_same_quantity(one: &str, other: &str) -> bool {
    matches!((one.parse::<Quantity>(), other.parse::<Quantity>()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_of_others_do_not_count() {
        let wanted = json!({"spec": {"replicas": 1, "list": [{"name": "a"}], "off": false, "none": {}}});
        let live = json!({"spec": {"replicas": 1, "list": [{"name": "a", "default": 1}]}, "status": {}});
        assert!(contains(&live, &wanted));
    }

    #[test]
    fn drift_counts() {
        let wanted = json!({"replicas": 1, "list": [{"name": "a"}], "memory": "1024Mi"});
        for live in [
            json!({"replicas": 2, "list": [{"name": "a"}], "memory": "1Gi"}),
            json!({"list": [{"name": "a"}], "memory": "1Gi"}),
            json!({"replicas": 1, "list": [{"name": "a"}, {"name": "b"}], "memory": "1Gi"}),
            json!({"replicas": 1, "list": [{"name": "a"}], "memory": "2Gi"}),
        ] {
            assert!(!contains(&live, &wanted), "{live}");
        }
        assert!(contains(&json!({"replicas": 1, "list": [{"name": "a"}], "memory": "1Gi"}), &wanted));
    }
}
