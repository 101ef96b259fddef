//! The environment a program starts with.
//!
//! `PWD` is how the child's C library learns its working directory, so it is always set. What else a program may count
//! on is filled in where it is missing (wasm-abi.md 2.1.1 and 4).

use std::ops::Deref;
use std::sync::Arc;

use vm_abi::Credentials;

use crate::account::Accounts;

/// Where programs are looked for if nothing else is said.
pub(crate) const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An environment: entries `NAME=value`.
pub(crate) type Environment = Vec<Vec<u8>>;

/// The environment of a program that runs.
pub(crate) struct Completed {
    /// What was given, then what was filled in.
    pub(crate) entries: Arc<[Vec<u8>]>,
    /// How many entries were given.
    given: usize,
}

impl Completed {
    /// What was given, in its order, with the `PWD` that is right.
    pub(crate) fn given(&self) -> &[Vec<u8>] {
        self.entries.get(..self.given).unwrap_or_default()
    }
}

impl Deref for Completed {
    type Target = [Vec<u8>];

    fn deref(&self) -> &[Vec<u8>] {
        &self.entries
    }
}

/// The value of a variable.
pub(crate) fn value<'a>(environment: &'a [Vec<u8>], name: &[u8]) -> Option<&'a [u8]> {
    environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
}

/// Sets `PWD`, and adds `defaults` and what belongs to the user where they are missing.
pub(crate) fn complete(
    mut environment: Environment,
    cwd: &[u8],
    credentials: &Credentials,
    accounts: &Accounts,
    defaults: &[(Vec<u8>, Vec<u8>)],
) -> Completed {
    let mut has_pwd = false;
    environment.retain_mut(|given| match name_of(given) {
        Some(b"PWD") => {
            *given = entry(b"PWD", cwd);
            !std::mem::replace(&mut has_pwd, true)
        }
        name => name.is_some(),
    });
    let given_entries = environment.len();
    if !has_pwd {
        environment.push(entry(b"PWD", cwd));
    }
    let user = accounts.user(credentials.uid);
    let of_user = user.into_iter().flat_map(|user| {
        [
            (&b"HOME"[..], user.home.as_bytes()),
            (b"USER", user.name.as_bytes()),
            (b"LOGNAME", user.name.as_bytes()),
            (b"SHELL", user.shell.as_bytes()),
        ]
    });
    let given = defaults.iter().map(|(name, value)| (&name[..], &value[..]));
    let fixed =
        [(&b"HOME"[..], &b"/"[..]), (b"SHELL", b"/bin/sh"), (b"PATH", DEFAULT_PATH), (b"TMPDIR", b"/tmp")];
    for (name, text) in of_user.chain(given).chain(fixed) {
        if value(&environment, name).is_none() {
            environment.push(entry(name, text));
        }
    }
    Completed { entries: environment.into(), given: given_entries }
}

fn name_of(entry: &[u8]) -> Option<&[u8]> {
    let end = entry.iter().position(|byte| *byte == b'=')?;
    (end > 0).then(|| &entry[..end])
}

fn entry(name: &[u8], value: &[u8]) -> Vec<u8> {
    [name, b"=", value].concat()
}

#[cfg(test)]
mod tests {
    use vm_abi::Credentials;

    use super::{complete, value};
    use crate::account::Accounts;

    fn completed(given: &[&str]) -> Vec<String> {
        let given = given.iter().map(|entry| entry.as_bytes().to_vec()).collect();
        let defaults = [(b"TERM".to_vec(), b"dumb".to_vec())];
        let environment = complete(given, b"/work", &Credentials::root(), &Accounts::with_root(), &defaults);
        environment.iter().map(|entry| String::from_utf8(entry.clone()).unwrap()).collect()
    }

    #[test]
    fn pwd_is_the_working_directory_whatever_was_given() {
        let environment = completed(&["PWD=/elsewhere", "PWD=/twice"]);
        assert_eq!(
            environment.iter().filter(|entry| entry.starts_with("PWD=")).collect::<Vec<_>>(),
            ["PWD=/work"]
        );
    }

    #[test]
    fn what_is_missing_is_filled_in_and_what_is_given_stays() {
        let environment = completed(&["HOME=/here", "PATH=", "noise"]);
        for expected in ["HOME=/here", "PATH=", "USER=root", "SHELL=/bin/sh", "TERM=dumb", "TMPDIR=/tmp"] {
            assert!(environment.iter().any(|entry| entry == expected), "{expected} in {environment:?}");
        }
        assert!(!environment.contains(&"noise".to_owned()));
    }

    #[test]
    fn what_was_given_is_told_from_what_was_filled_in() {
        let given = |given: &[&[u8]]| {
            let given = given.iter().map(|entry| entry.to_vec()).collect();
            complete(given, b"/work", &Credentials::root(), &Accounts::with_root(), &[]).given().to_vec()
        };
        assert_eq!(given(&[]), Vec::<Vec<u8>>::new());
        assert_eq!(given(&[b"A=1", b"PWD=/", b"noise", b"B="]), [&b"A=1"[..], b"PWD=/work", b"B="]);
    }

    #[test]
    fn a_name_is_not_mistaken_for_a_longer_one() {
        let environment = [b"PATHS=1".to_vec(), b"PATH=2".to_vec()];
        assert_eq!(value(&environment, b"PATH"), Some(&b"2"[..]));
    }
}
