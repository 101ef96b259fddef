//! `kubectl lodge __complete`: what could stand at the end of a command line, in the words of kubectl's completion: a line
//! each, then what the shell shall do. Never fails and never waits for long: who presses a key wants no error. What there is
//! to choose from comes from `known`.

mod known;

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory as _};

use crate::args::{Args, ClusterArgs};
use crate::error::Error;
use crate::terminal::Terminal;

/// The word that asks for it.
const ASKING: &str = "__complete";

/// What the shell does with it, as numbered by cobra, kubectl's parser.
const FILES: &str = ":0";
const NO_SPACE: &str = ":6";
const NOTHING_ELSE: &str = ":4";

/// A word and what it means.
type Candidate = (String, String);

/// What could stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Candidates {
    /// These words.
    Words(Vec<Candidate>),
    /// A workspace.
    Workspaces,
    /// A workspace and a path in it.
    Paths,
    /// That, or a file here.
    PathsOrFiles,
    CronJobs,
    Namespaces,
    /// Contexts, clusters or users of the kubeconfig.
    OfKubeconfig(&'static str),
    Files,
}

/// The words to complete, if the command line asks for that. They are no command line yet, and are never read as one.
pub(crate) fn asked(arguments: &[OsString]) -> Option<Vec<String>> {
    let (_, rest) = arguments.split_first()?;
    let (asking, words) = rest.split_first()?;
    (asking == ASKING).then(|| words.iter().map(|word| word.to_string_lossy().into_owned()).collect())
}

/// Prints what could stand in place of the last word.
pub(crate) async fn run(words: &[String], terminal: &mut Terminal) -> Result<u8, Error> {
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", &[][..]),
    };
    let candidates = candidates(before, last);
    // The value of --OPTION=VALUE stands alone.
    let last =
        last.split_once('=').filter(|(name, _)| name.starts_with("--")).map_or(last, |(_, value)| value);
    let (found, directive) = match known::chosen(before) {
        Some(args) => look(candidates, last, &args).await,
        None => (Vec::new(), NOTHING_ELSE),
    };
    let mut text = String::new();
    for (word, meaning) in found.iter().filter(|(word, _)| word.starts_with(last)) {
        text.push_str(word);
        if !meaning.is_empty() {
            text.push('\t');
            text.push_str(meaning.lines().next().unwrap_or_default());
        }
        text.push('\n');
    }
    terminal.print(format!("{text}{directive}\n").as_bytes())?;
    Ok(0)
}

/// The words that there are, and what the shell does with them.
async fn look(candidates: Candidates, last: &str, args: &ClusterArgs) -> (Vec<Candidate>, &'static str) {
    let workspaces = || known::objects("Workspace", "workspaces", args);
    let found = match candidates {
        Candidates::Words(words) => words,
        Candidates::Files => return (Vec::new(), FILES),
        Candidates::Workspaces => plain(workspaces().await),
        Candidates::CronJobs => plain(known::objects("CronJob", "cronjobs", args).await),
        Candidates::Namespaces => plain(known::namespaces(args).await),
        Candidates::OfKubeconfig(part) => plain(known::of_kubeconfig(part, args)),
        Candidates::Paths | Candidates::PathsOrFiles if last.contains(':') => {
            return (known::paths(last, args).await, NO_SPACE);
        }
        Candidates::Paths | Candidates::PathsOrFiles => {
            let mut names = workspaces().await;
            names.retain(|name| name.starts_with(last));
            if names.is_empty() && candidates == Candidates::PathsOrFiles {
                return (Vec::new(), FILES);
            }
            return (names.into_iter().map(|name| (format!("{name}:"), String::new())).collect(), NO_SPACE);
        }
    };
    (found, NOTHING_ELSE)
}

fn plain(names: Vec<String>) -> Vec<Candidate> {
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
            awaited = option(command, word);
        } else if let Some(found) = command.find_subcommand(word) {
            command = found;
        } else {
            position += 1;
        }
    }
    if let Some(argument) = awaited {
        return value_of(argument);
    }
    if let Some(argument) = last.split_once('=').and_then(|(name, _)| option(command, name)) {
        return value_of(argument);
    }
    if last.starts_with('-') && last != "-" {
        return Candidates::Words(options(command));
    }
    if command.has_subcommands() {
        return Candidates::Words(subcommands(command));
    }
    match (command.get_name(), position) {
        ("cp", _) if !last.contains(':') && last.contains(['/', '.']) => Candidates::Files,
        ("cp", 0 | 1) => Candidates::PathsOrFiles,
        ("cat", _) | ("ls" | "edit", 0) => Candidates::Paths,
        ("list" | "run", 0) => Candidates::CronJobs,
        ("completion", 0) => {
            let argument = command.get_positionals().next();
            argument.map_or(Candidates::Words(Vec::new()), value_of)
        }
        ("exec" | "shell" | "ps" | "kill" | "top" | "events" | "wake" | "sleep" | "status", 0) => {
            Candidates::Workspaces
        }
        _ => Candidates::Words(Vec::new()),
    }
}

/// The option that a word names, if it takes a value from the next word: `--name`, `-n`, or the last of `-itn`.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let takes_value = |argument: &&Arg| argument.get_action().takes_values();
    if let Some(long) = word.strip_prefix("--") {
        return command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(long))
            .filter(takes_value);
    }
    let mut letters = word.strip_prefix('-')?.chars();
    while let Some(letter) = letters.next() {
        let mut named = command.get_arguments();
        let named = named.find(|argument| argument.get_short() == Some(letter)).filter(takes_value);
        if named.is_some() {
            // What follows in the same word is its value.
            return named.filter(|_| letters.as_str().is_empty());
        }
    }
    None
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
        "context" => Candidates::OfKubeconfig("context"),
        "cluster" => Candidates::OfKubeconfig("cluster"),
        "user" => Candidates::OfKubeconfig("user"),
        "kubeconfig" | "gateway_ca" => Candidates::Files,
        _ => Candidates::Words(Vec::new()),
    }
}

fn options(command: &Command) -> Vec<Candidate> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let words = shown.filter_map(|argument| {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        argument.get_long().map(|long| (format!("--{long}"), help))
    });
    words.collect()
}

fn subcommands(command: &Command) -> Vec<Candidate> {
    let shown = command.get_subcommands().filter(|found| !found.is_hide_set());
    let help = |found: &Command| found.get_about().map(ToString::to_string).unwrap_or_default();
    shown.map(|found| (found.get_name().to_owned(), help(found))).collect()
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
        assert_eq!(words("cron "), ["list", "run"]);
        assert!(words("exec ada --").contains(&"--timeout".to_owned()));
        for line in ["ps ada -o ", "ps ada --output=", "ps ada --output=j"] {
            assert_eq!(words(line), ["json", "yaml", "wide", "name"], "{line}");
        }
        assert_eq!(words("completion "), ["bash", "zsh", "fish", "kubectl"]);
    }

    #[test]
    fn names_of_workspaces_are_offered_where_one_can_stand() {
        assert_eq!(at("exec "), Candidates::Workspaces);
        assert_eq!(at("exec -n team-a --timeout 5m a"), Candidates::Workspaces);
        assert_eq!(at("exec -nteam-a -it "), Candidates::Workspaces);
        assert_eq!(at("cp ./x "), Candidates::PathsOrFiles);
        assert_eq!(at("cp ada:/x"), Candidates::PathsOrFiles);
        assert_eq!(at("cp ./x"), Candidates::Files);
        assert_eq!(at("cat ada:/x"), Candidates::Paths);
        assert_eq!(at("cron run "), Candidates::CronJobs);
        assert_eq!(at("exec -n "), Candidates::Namespaces);
        assert_eq!(at("-n "), Candidates::Namespaces);
        assert_eq!(at("--context "), Candidates::OfKubeconfig("context"));
        assert!(words("exec ada ").is_empty() && words("exec ada -- l").is_empty());
    }

    #[test]
    fn words_to_complete_are_not_read_as_a_command_line() {
        let asked = |line: &str| asked(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(asked("kubectl-lodge __complete -n "), Some(vec!["-n".to_owned(), String::new()]));
        let words = asked("kubectl-lodge __complete exec ada -- --help").unwrap();
        assert_eq!(words, ["exec", "ada", "--", "--help"]);
        assert_eq!(asked("kubectl-lodge exec __complete"), None);
    }
}
