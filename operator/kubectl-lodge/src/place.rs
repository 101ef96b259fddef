//! Where files are: here, at standard input or output, or in a workspace (`NAME:PATH`, as in `kubectl cp`).

use std::path::PathBuf;
use std::str::FromStr;

use kube::Api;
use vm_api::ProblemCode;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::workspace::{self, ObservedWorkspace};

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here(PathBuf),
    /// `-`.
    Standard,
    There(RemotePath),
}

/// A path in a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemotePath {
    pub(crate) namespace: Option<String>,
    pub(crate) workspace: String,
    /// As typed; relative to the home directory of the workspace's user.
    pub(crate) path: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Standard);
        }
        match split(text) {
            Some(there) => Ok(Self::There(there)),
            None if text.is_empty() => Err("expected a path, NAME:PATH, or -".to_owned()),
            None => Ok(Self::Here(PathBuf::from(text))),
        }
    }
}

impl FromStr for RemotePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = || {
            is_name(text).then(|| Self { namespace: None, workspace: text.to_owned(), path: String::new() })
        };
        split(text).or_else(whole).ok_or_else(|| {
            "expected NAME:PATH, such as ada:/work/notes.txt, or ada:notes.txt for a file in the home directory".to_owned()
        })
    }
}

/// `NAME:PATH` or `NAMESPACE/NAME:PATH`; anything else is a path here, also one with a colon.
fn split(text: &str) -> Option<RemotePath> {
    let (place, path) = text.split_once(':')?;
    let (namespace, workspace) = match place.split_once('/') {
        Some((namespace, workspace)) => (Some(namespace), workspace),
        None => (None, place),
    };
    let is_one = is_name(workspace) && namespace.is_none_or(is_name);
    is_one.then(|| RemotePath {
        namespace: namespace.map(str::to_owned),
        workspace: workspace.to_owned(),
        path: path.to_owned(),
    })
}

/// Refuses what cannot be the name of an object before anybody is asked: it could be part of a path.
pub(crate) fn check_name(kind: &str, name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{name:?} cannot be the name of a {kind}: names have lower-case letters, digits, \"-\" and \".\", and a letter or digit at both ends"
    )))
}

fn is_name(text: &str) -> bool {
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_inside =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    is_edge(text.bytes().next()) && is_edge(text.bytes().last()) && text.bytes().all(is_inside)
}

impl RemotePath {
    /// What to say to somebody who takes a directory for a file.
    pub(crate) fn refused(&self, error: Error) -> Error {
        if !error.is(ProblemCode::IsADirectory) {
            return error;
        }
        let namespace = self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let there = format!("{namespace}{}:{}", self.workspace, self.path);
        Error::Usage(format!("{there} is a directory: see what is in it with `kubectl lodge ls {there}`"))
    }

    /// The absolute path. Only for one that begins in the home directory is the Workspace read.
    pub(crate) async fn resolve(&self, cluster: &Cluster) -> Result<String, Error> {
        if self.path.starts_with('/') {
            return Ok(self.path.clone());
        }
        let api: Api<ObservedWorkspace> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let found = workspace::get(&api, &self.workspace, &cluster.namespace).await.map_err(|error| {
            Error::Usage(format!("{error}; or give an absolute path, such as {}:/home/agent", self.workspace))
        })?;
        Ok(below(&found.home(), &self.path))
    }
}

/// A path below the home directory: `x`, `~` or `~/x`.
fn below(home: &str, path: &str) -> String {
    let rest = match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
        _ => path,
    };
    if rest.is_empty() { home.to_owned() } else { format!("{}/{rest}", home.trim_end_matches('/')) }
}

/// The last name of a path.
pub(crate) fn last_name(path: &str) -> Option<&str> {
    path.rsplit('/').find(|name| !name.is_empty() && !matches!(*name, "." | ".."))
}

/// A name in a directory.
pub(crate) fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_here_there_or_standard() {
        let there = |namespace: Option<&str>, path: &str| {
            Place::There(RemotePath {
                namespace: namespace.map(str::to_owned),
                workspace: "ada".to_owned(),
                path: path.to_owned(),
            })
        };
        for (text, expected) in [
            ("-", Place::Standard),
            ("ada:/work", there(None, "/work")),
            ("ada:", there(None, "")),
            ("team-a/ada:x:y", there(Some("team-a"), "x:y")),
            ("./ada:x", Place::Here("./ada:x".into())),
            ("a/b/c:d", Place::Here("a/b/c:d".into())),
            ("notes.txt", Place::Here("notes.txt".into())),
            ("Ada:x", Place::Here("Ada:x".into())),
        ] {
            assert_eq!(text.parse::<Place>().unwrap(), expected, "{text}");
        }
        assert!("".parse::<Place>().is_err());
    }

    #[test]
    fn a_path_that_is_not_absolute_begins_at_home() {
        for (path, expected) in [
            ("", "/home/a"),
            ("~", "/home/a"),
            ("~/x", "/home/a/x"),
            ("x/y", "/home/a/x/y"),
            ("~x", "/home/a/~x"),
        ] {
            assert_eq!(below("/home/a", path), expected, "{path}");
        }
        assert_eq!(last_name("/a/b/."), Some("b"));
        assert_eq!(join("/", "x"), "/x");
    }
}
