//! `kubectl lodge __complete`: what could stand at the end of a command line, in the words of kubectl's completion: a line
//! each, then what the shell shall do. Never fails and never waits for long: who presses a key wants no error.

use std::time::Duration;

use clap::{Arg, Command, CommandFactory as _};
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};

use crate::args::{Args, ClusterArgs};
use crate::cluster::Cluster;
use crate::error::Error;
use crate::terminal::Terminal;

/// How long the API server may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Most names that are offered.
const MAX_NAMES: u32 = 500;

/// What the shell does with it, as numbered by cobra, kubectl's parser.
const FILES: &str = ":0";
const NO_SPACE: &str = ":6";
const NOTHING_ELSE: &str = ":4";

#[derive(Debug, clap::Args)]
pub(crate) struct CompleteArgs {
    /// The words; the last one is completed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// What could stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Candidates {
    /// These words, with what they mean.
    Words(Vec<(String, String)>),
    /// A workspace; followed by a path if `:` is set.
    Workspaces(&'static str),
    CronJobs,
    Namespaces,
    Files,
}

/// Prints what could stand there.
pub(crate) async fn run(
    args: CompleteArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let (last, before) = match args.words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", &[][..]),
    };
    let cluster_args =
        ClusterArgs { namespace: namespace(before).or(cluster_args.namespace.clone()), ..cluster_args };
    let candidates = candidates(before, last);
    let (words, directive) = match candidates {
        Candidates::Words(words) => (words, NOTHING_ELSE),
        Candidates::Files => (Vec::new(), FILES),
        Candidates::Workspaces(suffix) => {
            let found = names("Workspace", "workspaces", &cluster_args).await;
            let directive = if suffix.is_empty() { NOTHING_ELSE } else { NO_SPACE };
            (found.into_iter().map(|name| (format!("{name}{suffix}"), String::new())).collect(), directive)
        }
        Candidates::CronJobs => (plain(names("CronJob", "cronjobs", &cluster_args).await), NOTHING_ELSE),
        Candidates::Namespaces => (plain(namespaces(&cluster_args).await), NOTHING_ELSE),
    };
    let mut text = String::new();
    for (word, meaning) in words.iter().filter(|(word, _)| word.starts_with(last)) {
        text.push_str(word);
        if !meaning.is_empty() {
            text.push('\t');
            text.push_str(meaning.lines().next().unwrap_or_default());
        }
        text.push('\n');
    }
    // Files are offered beside workspaces where either may stand.
    let directive = if directive == NO_SPACE && text.is_empty() { FILES } else { directive };
    terminal.print(format!("{text}{directive}\n").as_bytes())?;
    Ok(0)
}

fn plain(names: Vec<String>) -> Vec<(String, String)> {
    names.into_iter().map(|name| (name, String::new())).collect()
}

/// What could stand after these words.
fn candidates(before: &[String], last: &str) -> Candidates {
    let mut root = Args::command();
    root.build();
    let mut command = &root;
    let mut position = 0;
    let mut awaited: Option<&Arg> = None;
    for word in before {
        if awaited.take().is_some() {
            continue;
        }
        if word == "--" {
            return Candidates::Words(Vec::new());
        }
        if word.starts_with('-') {
            awaited = option(command, word).filter(|_| !word.contains('='));
        } else if let Some(found) = command.find_subcommand(word) {
            command = found;
        } else {
            position += 1;
        }
    }
    if let Some(argument) = awaited {
        return value_of(argument);
    }
    if last.starts_with('-') {
        return Candidates::Words(options(command));
    }
    if command.has_subcommands() {
        return Candidates::Words(subcommands(command));
    }
    let path = command.get_name();
    match (path, position) {
        ("cp", _) if last.contains([':', '/', '.']) => Candidates::Files,
        ("cp", 0 | 1) | ("cat", _) | ("ls" | "edit", 0) => Candidates::Workspaces(":"),
        ("list" | "run", 0) => Candidates::CronJobs,
        ("completion", 0) => {
            let argument = command.get_positionals().next();
            argument.map_or(Candidates::Words(Vec::new()), value_of)
        }
        ("exec" | "shell" | "ps" | "kill" | "top" | "events" | "wake" | "sleep" | "status", 0) => {
            Candidates::Workspaces("")
        }
        _ => Candidates::Words(Vec::new()),
    }
}

/// The option that a word names, if it takes a value from the next word.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let long = word.strip_prefix("--");
    let short = word.strip_prefix('-').filter(|_| long.is_none()).and_then(|rest| rest.chars().last());
    let is_it = |argument: &&Arg| match long {
        Some(long) => argument.get_long() == Some(long),
        None => argument.get_short().is_some() && argument.get_short() == short,
    };
    command.get_arguments().find(is_it).filter(|argument| argument.get_action().takes_values())
}

fn value_of(argument: &Arg) -> Candidates {
    let values = argument.get_possible_values();
    if !values.is_empty() {
        let help = |value: &clap::builder::PossibleValue| {
            value.get_help().map(ToString::to_string).unwrap_or_default()
        };
        return Candidates::Words(
            values.iter().map(|value| (value.get_name().to_owned(), help(value))).collect(),
        );
    }
    match argument.get_id().as_str() {
        "namespace" | "lodge_namespace" => Candidates::Namespaces,
        "kubeconfig" | "gateway_ca" => Candidates::Files,
        _ => Candidates::Words(Vec::new()),
    }
}

fn options(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let words = shown.filter_map(|argument| {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        argument.get_long().map(|long| (format!("--{long}"), help))
    });
    words.collect()
}

fn subcommands(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_subcommands().filter(|found| !found.is_hide_set());
    let help = |found: &Command| found.get_about().map(ToString::to_string).unwrap_or_default();
    shown.map(|found| (found.get_name().to_owned(), help(found))).collect()
}

/// The namespace that the words name.
fn namespace(words: &[String]) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if matches!(word.as_str(), "-n" | "--namespace") {
            return words.next().cloned();
        }
        if let Some(name) = word.strip_prefix("--namespace=") {
            return Some(name.to_owned());
        }
    }
    None
}

/// The names of objects of Lodge, as far as they are there quickly.
async fn names(kind: &str, plural: &str, args: &ClusterArgs) -> Vec<String> {
    let looking = async {
        let Cluster { client, namespace, credentials: _ } = Cluster::load(args).await.ok()?;
        let kind = GroupVersionKind::gvk(lodge_crds::label::GROUP, lodge_crds::label::VERSION, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
        let list = api.list_metadata(&ListParams::default().limit(MAX_NAMES)).await.ok()?;
        Some(list.items.iter().map(ResourceExt::name_any).collect())
    };
    tokio::time::timeout(TIMEOUT, looking).await.ok().flatten().unwrap_or_default()
}

async fn namespaces(args: &ClusterArgs) -> Vec<String> {
    let looking = async {
        let Cluster { client, .. } = Cluster::load(args).await.ok()?;
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
        let list = api.list_metadata(&ListParams::default().limit(MAX_NAMES)).await.ok()?;
        Some(list.items.iter().map(ResourceExt::name_any).collect())
    };
    tokio::time::timeout(TIMEOUT, looking).await.ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Candidates {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (last, before) = words.split_last().unwrap();
        candidates(before, last)
    }

    fn words(line: &str) -> Vec<String> {
        match at(line) {
            Candidates::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_options_and_values_are_offered_where_they_can_stand() {
        let commands = words("");
        assert!(
            commands.contains(&"exec".to_owned()) && commands.contains(&"cron".to_owned()),
            "{commands:?}"
        );
        assert!(!commands.contains(&"__complete".to_owned()));
        assert_eq!(words("cron "), ["list", "run"]);
        assert!(words("exec ada --").contains(&"--timeout".to_owned()));
        assert_eq!(words("ps ada -o "), ["json", "yaml", "wide", "name"]);
        assert_eq!(words("completion "), ["bash", "zsh", "fish", "kubectl"]);
    }

    #[test]
    fn names_of_workspaces_are_offered_where_one_can_stand() {
        assert_eq!(at("exec "), Candidates::Workspaces(""));
        assert_eq!(at("exec -n team-a --timeout 5m a"), Candidates::Workspaces(""));
        assert_eq!(at("cp ./x "), Candidates::Workspaces(":"));
        assert_eq!(at("cp ./x"), Candidates::Files);
        assert_eq!(at("cron run "), Candidates::CronJobs);
        assert_eq!(at("exec -n "), Candidates::Namespaces);
        assert!(words("exec ada ").is_empty() && words("exec ada -- l").is_empty());
    }

    #[test]
    fn the_namespace_of_the_line_is_that_of_the_names() {
        let line = |text: &str| namespace(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(line("exec -n team-a").as_deref(), Some("team-a"));
        assert_eq!(line("exec --namespace=team-b").as_deref(), Some("team-b"));
        assert_eq!(line("exec ada"), None);
    }
}
