//! The environment a program starts with.
//!
//! `PWD` is how the child's C library learns its working directory, so it is always set. What else a program may count
//! on is filled in where it is missing (wasm-abi.md 2.1.1 and 4).

use std::sync::Arc;

use vm_abi::Credentials;

use crate::account::Accounts;

/// Where programs are looked for if nothing else is said.
pub(crate) const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An environment: entries `NAME=value`.
pub(crate) type Environment = Vec<Vec<u8>>;

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
) -> Arc<[Vec<u8>]> {
    environment.retain(|entry| name_of(entry).is_some_and(|name| name != b"PWD"));
    environment.push(entry(b"PWD", cwd));
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
    environment.into()
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
    fn a_name_is_not_mistaken_for_a_longer_one() {
        let environment = [b"PATHS=1".to_vec(), b"PATH=2".to_vec()];
        assert_eq!(value(&environment, b"PATH"), Some(&b"2"[..]));
    }
}
