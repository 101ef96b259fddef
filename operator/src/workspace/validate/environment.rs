//! The environment, with its references resolved.

use super::super::{
    Error,
    dereference::{Data, References},
    error::Missing,
};
use crate::certificate::system::is_own_secret;
use lodge_crds::{EnvVar, KeyRef, ObjectName};
use std::collections::BTreeMap;

/// Resolves an environment that stands at `field` of a spec.
pub(crate) fn resolve(
    field: &str,
    env: &[EnvVar],
    references: &References,
) -> Result<Vec<vm_api::EnvVar>, Error> {
    let mut resolved = Vec::with_capacity(env.len());
    for (index, variable) in env.iter().enumerate() {
        let EnvVar { name, value, value_from } = variable;
        let path = format!("{field}[{index}]");
        let source = value_from.as_ref();
        let secret = source.and_then(|source| source.secret_key_ref.as_ref());
        let config_map = source.and_then(|source| source.config_map_key_ref.as_ref());
        let value = match (value, secret, config_map) {
            (Some(value), None, None) => Some(value.clone()),
            (None, Some(key), None) => {
                let path = format!("{path}.valueFrom.secretKeyRef");
                refuse_own_secret(&path, &key.name)?;
                look_up(key, &references.secrets, "Secret", path, Error::SecretMissing)?
            }
            (None, None, Some(key)) => {
                let path = format!("{path}.valueFrom.configMapKeyRef");
                look_up(key, &references.config_maps, "ConfigMap", path, Error::ConfigMapMissing)?
            }
            _ => {
                let detail = "set exactly one of value, valueFrom.secretKeyRef and valueFrom.configMapKeyRef"
                    .to_owned();
                return Err(Error::InvalidSpec { path, detail });
            }
        };
        if let Some(value) = value {
            if value.contains('\0') {
                let detail =
                    "the value holds a zero byte, which no environment variable can: mount it as a file"
                        .to_owned();
                return Err(Error::InvalidSpec { path, detail });
            }
            resolved.push(vm_api::EnvVar::new(name.as_str(), value));
        }
    }
    Ok(resolved)
}

/// Lodge's own keys are nobody's.
pub(super) fn refuse_own_secret(path: &str, name: &ObjectName) -> Result<(), Error> {
    if !is_own_secret(name) {
        return Ok(());
    }
    let detail =
        format!("Secret {:?} is Lodge's own, which no workspace may have: name another one", &**name);
    Err(Error::InvalidSpec { path: format!("{path}.name"), detail })
}

fn look_up(
    key: &KeyRef,
    objects: &BTreeMap<ObjectName, Option<Data>>,
    kind: &'static str,
    path: String,
    missing: fn(Missing) -> Error,
) -> Result<Option<String>, Error> {
    let data = objects.get(&key.name).and_then(Option::as_ref);
    let value = data.and_then(|data| data.get(key.key.as_str()));
    match value {
        Some(bytes) => String::from_utf8(bytes.clone()).map(Some).map_err(|_| Error::InvalidSpec {
            path,
            detail: format!(
                "key {:?} of {kind} {:?} isn't UTF-8 text: mount it as a file instead",
                key.key, key.name
            ),
        }),
        None if key.optional => Ok(None),
        None => Err(missing(Missing {
            path,
            kind,
            name: key.name.to_string(),
            key: data.map(|_| key.key.to_string()),
        })),
    }
}
