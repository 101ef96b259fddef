//! An object that this version of the operator can't read: written by a newer version, or past the schema.
//!
//! What counts then are its metadata and its status: enough to say so in its conditions, and to delete it. What they mean for
//! a kind is that kind's concern ([`crate::workspace`], [`crate::cron_job`]); this module must never know a spec.

use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, ObjectMeta},
    core::{NamespaceResourceScope, error_boundary::InvalidObject},
};
use serde::de::DeserializeOwned;

/// What can be read of an object whose spec can't.
pub(crate) struct Remains<S> {
    /// As the API server has it now.
    pub metadata: ObjectMeta,
    /// `None`: the object has no status, or one that can't be read either.
    pub status: Option<S>,
}

/// Asks the API server for what can be read of an object of the kind `K`. `None`: it is gone.
///
/// # Errors
/// Of the request.
pub(crate) async fn read<K, S>(invalid: &InvalidObject, client: Client) -> kube::Result<Option<Remains<S>>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    S: DeserializeOwned,
{
    let name = invalid.metadata.name.as_deref().unwrap_or_default();
    let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
    let Some(mut object) = api.get_opt(name).await? else {
        return Ok(None);
    };
    let status = object.data.get_mut("status").map(serde_json::Value::take);
    let status = status.and_then(|status| serde_json::from_value(status).ok());
    Ok(Some(Remains { metadata: object.metadata, status }))
}

/// What the conditions of such an object say.
pub(crate) fn message(kind: &str, invalid: &InvalidObject) -> String {
    let error = &invalid.error;
    format!(
        "this version of the operator can't read the {kind}: {error}; correct the spec, or upgrade the operator"
    )
}
