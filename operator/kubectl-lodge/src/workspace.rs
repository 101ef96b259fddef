//! A Workspace as the API server has it; read leniently, so that a plugin of another version understands it too.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use lodge_crds::Workspace;
use serde::{Deserialize, Serialize};

use crate::cluster::api_error;
use crate::error::Error;
use crate::place::check_name;

/// A Workspace, as far as this program reads it.
#[derive(Clone, Debug, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = "Workspace")]
pub(crate) struct ObservedWorkspace {
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: ObservedSpec,
    #[serde(default)]
    pub(crate) status: Option<Observed>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObservedSpec {
    pub(crate) power: Option<String>,
    pub(crate) idle: ObservedIdle,
    pub(crate) user: ObservedUser,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObservedIdle {
    pub(crate) sleep_after: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObservedUser {
    name: Option<String>,
    home: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Observed {
    pub(crate) observed_generation: Option<i64>,
    pub(crate) power: Option<String>,
    pub(crate) runner: Option<Runner>,
    pub(crate) software: Option<String>,
    pub(crate) last_wake: Option<Wake>,
    pub(crate) idle_since: Option<String>,
    pub(crate) usage: Option<ObservedUsage>,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Runner {
    pub(crate) name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wake {
    pub(crate) at: String,
    pub(crate) cause: String,
    #[serde(default)]
    pub(crate) first_byte_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObservedUsage {
    pub(crate) storage_bytes: Option<u64>,
    pub(crate) files: Option<u64>,
    pub(crate) processes: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
}

impl ObservedWorkspace {
    /// The home directory of its user. The defaults are the schema's.
    pub(crate) fn home(&self) -> String {
        let ObservedUser { name, home } = &self.spec.user;
        home.clone().unwrap_or_else(|| format!("/home/{}", name.as_deref().unwrap_or("agent")))
    }

    pub(crate) fn power(&self) -> &str {
        self.status.as_ref().and_then(|status| status.power.as_deref()).unwrap_or("Unbound")
    }
}

/// Reads a Workspace.
pub(crate) async fn get(
    api: &Api<ObservedWorkspace>,
    name: &str,
    namespace: &str,
) -> Result<ObservedWorkspace, Error> {
    check_name("workspace", name)?;
    api.get(name).await.map_err(|error| match error {
        kube::Error::Api(status) if status.is_not_found() => {
            missing(name, namespace, status.details.is_some_and(|details| details.name == name))
        }
        error => {
            api_error(error, &format!("read workspaces in namespace {namespace} (get workspaces.lodge.dev)"))
        }
    })
}

/// The API server says "not found" of an object that is missing, and of a kind that it does not know.
fn missing(name: &str, namespace: &str, is_kind_known: bool) -> Error {
    Error::Api(if is_kind_known {
        format!(
            "there is no workspace {name} in namespace {namespace}; see `kubectl get workspaces -n {namespace}`"
        )
    } else {
        NO_KIND.to_owned()
    })
}

/// Said of a cluster without the definitions.
pub(crate) const NO_KIND: &str =
    "this cluster does not know workspaces: install the chart lodge-crds, then the chart lodge";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_the_cluster_does_not_know_is_told_from_a_name_that_is_missing() {
        assert!(missing("ada", "x", true).to_string().contains("no workspace ada"));
        assert!(missing("ada", "x", false).to_string().contains("lodge-crds"));
    }

    #[test]
    fn the_home_directory_is_that_of_the_user() {
        let home = |spec: &str| {
            let text = format!(r#"{{"metadata": {{}}, "spec": {spec}}}"#);
            serde_json::from_str::<ObservedWorkspace>(&text).unwrap().home()
        };
        assert_eq!(home("{}"), "/home/agent");
        assert_eq!(home(r#"{"user": {"name": "eve"}}"#), "/home/eve");
        assert_eq!(home(r#"{"user": {"name": "eve", "home": "/srv"}}"#), "/srv");
    }
}
