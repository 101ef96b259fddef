//! Reads the Secrets and ConfigMaps that a Workspace, or an environment, names: each once, and only those. Of claims it looks
//! whether they exist.

use super::Error;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use kube::{Api, Client};
use lodge_crds::{EnvVar, MountSource, ObjectName, Workspace};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// How many are read at the same time.
const CONCURRENCY: usize = 8;

/// What Secrets and ConfigMaps hold, by name. `None` for one that doesn't exist.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Secrets.
    pub secrets: BTreeMap<ObjectName, Option<Data>>,
    /// ConfigMaps.
    pub config_maps: BTreeMap<ObjectName, Option<Data>>,
    /// Whether PersistentVolumeClaims exist.
    pub claims: BTreeMap<ObjectName, bool>,
}

/// Keys and values of a Secret or a ConfigMap.
pub type Data = BTreeMap<String, Vec<u8>>;

impl fmt::Debug for References {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("References")
            .field("secrets", &self.secrets.keys())
            .field("config_maps", &self.config_maps.keys())
            .field("claims", &self.claims)
            .finish()
    }
}

impl References {
    /// Whether nothing is referred to.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.config_maps.is_empty() && self.claims.is_empty()
    }
}

/// Reads what this Workspace refers to.
///
/// # Errors
/// If the API server doesn't answer, or the operator may not read it. What doesn't exist is no error here.
pub async fn dereference(workspace: &Workspace, client: &Client) -> Result<References, Error> {
    read(names(workspace), workspace.metadata.namespace.as_deref().unwrap_or_default(), client).await
}

/// Reads what these variables refer to.
///
/// # Errors
/// As [`dereference`].
pub async fn dereference_env(env: &[EnvVar], namespace: &str, client: &Client) -> Result<References, Error> {
    read(Names::of_env(env), namespace, client).await
}

async fn read(names: Names, namespace: &str, client: &Client) -> Result<References, Error> {
    let Names { secrets, config_maps, claims } = names;
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let read = stream::iter(secrets).map(|name| {
        let api = api.clone();
        async move {
            let found = api.get_opt(&name).await.map_err(|source| unread("Secret", &name, source))?;
            Ok::<_, Error>((name, found.map(secret_data)))
        }
    });
    let secrets = read.buffered(CONCURRENCY).try_collect().await?;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let read = stream::iter(config_maps).map(|name| {
        let api = api.clone();
        async move {
            let found = api.get_opt(&name).await.map_err(|source| unread("ConfigMap", &name, source))?;
            Ok::<_, Error>((name, found.map(config_map_data)))
        }
    });
    let config_maps = read.buffered(CONCURRENCY).try_collect().await?;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let read = stream::iter(claims).map(|name| {
        let api = api.clone();
        async move {
            let found = api.get_metadata_opt(&name).await;
            let found = found.map_err(|source| unread("PersistentVolumeClaim", &name, source))?;
            Ok::<_, Error>((name, found.is_some()))
        }
    });
    let claims = read.buffered(CONCURRENCY).try_collect().await?;
    Ok(References { secrets, config_maps, claims })
}

/// What is referred to, by name.
struct Names {
    secrets: BTreeSet<ObjectName>,
    config_maps: BTreeSet<ObjectName>,
    claims: BTreeSet<ObjectName>,
}

impl Names {
    fn of_env(env: &[EnvVar]) -> Self {
        let (mut secrets, mut config_maps) = (BTreeSet::new(), BTreeSet::new());
        for source in env.iter().filter_map(|variable| variable.value_from.as_ref()) {
            secrets.extend(source.secret_key_ref.as_ref().map(|key| key.name.clone()));
            config_maps.extend(source.config_map_key_ref.as_ref().map(|key| key.name.clone()));
        }
        Self { secrets, config_maps, claims: BTreeSet::new() }
    }
}

fn names(workspace: &Workspace) -> Names {
    let Names { mut secrets, mut config_maps, mut claims } = Names::of_env(&workspace.spec.env);
    for mount in &workspace.spec.mounts {
        match mount.source() {
            Some(MountSource::Secret(source)) => drop(secrets.insert(source.name.clone())),
            Some(MountSource::ConfigMap(source)) => drop(config_maps.insert(source.name.clone())),
            Some(MountSource::Volume(source)) => drop(claims.insert(source.claim_name.clone())),
            Some(MountSource::Tmpfs(_) | MountSource::S3(_) | MountSource::Sandbox(_)) | None => {}
        }
    }
    Names { secrets, config_maps, claims }
}

fn secret_data(secret: Secret) -> Data {
    secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
}

fn config_map_data(config_map: ConfigMap) -> Data {
    let text = config_map.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
    let binary = config_map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    text.chain(binary).collect()
}

fn unread(kind: &'static str, name: &ObjectName, source: kube::Error) -> Error {
    Error::ReadReference { kind, name: name.to_string(), source }
}
