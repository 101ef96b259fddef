//! What there is to choose from: names in the cluster and in the kubeconfig, paths in a workspace. Whatever goes wrong, or takes
//! too long, is nothing to choose from: who presses a key wants no error.

use std::time::Duration;

use clap::{Args as _, Command, FromArgMatches as _};
use kube::Api;
use kube::api::{DynamicObject, ListParams, ObjectList, PartialObjectMeta};
use kube::config::Kubeconfig;
use kube::core::{ApiResource, GroupVersionKind};
use vm_api::{FileType, ListResponse};

use super::{Candidate, option};
use crate::args::ClusterArgs;
use crate::cluster::Cluster;
use crate::gateway::Ask;
use crate::place::RemotePath;
use crate::remote::Remote;

/// How long anybody may take who is asked.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Most names that are offered.
const MAX_NAMES: u32 = 500;

/// The cluster and the user that the words of a line choose.
pub(super) fn chosen(words: &[String]) -> Option<ClusterArgs> {
    let command = ClusterArgs::augment_args(Command::new("complete"));
    let mut line = vec!["complete".to_owned()];
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        if option(&command, name).is_none() {
            continue;
        }
        if name == word {
            let Some(value) = words.next() else { break };
            line.extend([word.clone(), value.clone()]);
        } else {
            line.push(word.clone());
        }
    }
    let matches = command.try_get_matches_from(line).ok()?;
    ClusterArgs::from_arg_matches(&matches).ok()
}

/// The names of objects of Lodge.
pub(super) async fn objects(kind: &str, plural: &str, args: &ClusterArgs) -> Vec<String> {
    let looking = async {
        let Cluster { client, namespace, credentials: _ } = Cluster::load(args).await.ok()?;
        let kind = GroupVersionKind::gvk(lodge_crds::label::GROUP, lodge_crds::label::VERSION, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
        api.list_metadata(&ListParams::default().limit(MAX_NAMES)).await.ok()
    };
    soon(looking).await.map(names).unwrap_or_default()
}

/// The namespaces of the cluster.
pub(super) async fn namespaces(args: &ClusterArgs) -> Vec<String> {
    let looking = async {
        let Cluster { client, .. } = Cluster::load(args).await.ok()?;
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
        api.list_metadata(&ListParams::default().limit(MAX_NAMES)).await.ok()
    };
    soon(looking).await.map(names).unwrap_or_default()
}

fn names<K: Clone>(list: ObjectList<PartialObjectMeta<K>>) -> Vec<String> {
    list.items.iter().map(|object| object.metadata.name.clone().unwrap_or_default()).collect()
}

/// The names of the contexts, clusters or users of the kubeconfig.
pub(super) fn of_kubeconfig(part: &str, args: &ClusterArgs) -> Vec<String> {
    let read = match &args.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let Ok(Kubeconfig { contexts, clusters, auth_infos, .. }) = read else { return Vec::new() };
    match part {
        "context" => contexts.into_iter().map(|context| context.name).collect(),
        "cluster" => clusters.into_iter().map(|cluster| cluster.name).collect(),
        _ => auth_infos.into_iter().map(|user| user.name).collect(),
    }
}

/// What begins as `typed`, a place in a workspace, with a slash behind directories. A workspace that sleeps goes on doing so.
pub(super) async fn paths(typed: &str, args: &ClusterArgs) -> Vec<Candidate> {
    let Some((directory, name)) = split(typed) else { return Vec::new() };
    let looking = async {
        let place: RemotePath = directory.parse().ok()?;
        let (remote, path) = Remote::at(&place, args).await.ok()?;
        let path = path.trim_end_matches('/');
        let route = remote.route.list(if path.is_empty() { "/" } else { path }, 1);
        remote.ask_quietly(Ask::get(route)).await.ok()?.json::<ListResponse>().await.ok()
    };
    let Some(list) = soon(looking).await else { return Vec::new() };
    let is_offered = |entry: &str| {
        (name.starts_with('.') || !entry.starts_with('.')) && !entry.chars().any(char::is_control)
    };
    let entries = list.entries.into_iter().filter(|entry| is_offered(&entry.name));
    let whole = entries.map(|entry| {
        let slash = if entry.stat.file_type == FileType::Directory { "/" } else { "" };
        (format!("{directory}{}{slash}", entry.name), String::new())
    });
    whole.take(MAX_NAMES as usize).collect()
}

/// The directory that a place is in, and the beginning of its name.
fn split(typed: &str) -> Option<(&str, &str)> {
    let colon = typed.find(':')?;
    let end = typed.rfind('/').filter(|slash| *slash > colon).unwrap_or(colon) + 1;
    Some(typed.split_at(end))
}

async fn soon<T>(looking: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(TIMEOUT, looking).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_by(line: &str) -> ClusterArgs {
        chosen(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_cluster_of_the_line_is_the_one_that_is_asked() {
        assert_eq!(chosen_by("exec -n team-a --timeout 5m").namespace.as_deref(), Some("team-a"));
        let args = chosen_by("--context=prod exec --namespace=team-b --user jane ada -- sh -n other");
        assert_eq!(args.namespace.as_deref(), Some("team-b"));
        assert_eq!((args.context.as_deref(), args.user.as_deref()), (Some("prod"), Some("jane")));
        assert_eq!(chosen_by("exec ada").namespace, None);
        assert_eq!(
            chosen_by("exec ada -n").lodge_namespace,
            "lodge-system",
            "also of a line that is not whole"
        );
    }

    #[test]
    fn a_place_is_a_directory_and_the_beginning_of_a_name() {
        assert_eq!(split("ada:"), Some(("ada:", "")));
        assert_eq!(split("ada:no"), Some(("ada:", "no")));
        assert_eq!(split("ada:/work/no"), Some(("ada:/work/", "no")));
        assert_eq!(split("team-a/ada:no"), Some(("team-a/ada:", "no")));
        assert_eq!(split("./x"), None);
    }
}
