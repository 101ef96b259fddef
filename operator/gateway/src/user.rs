//! Who asks, as the cluster knows them.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

/// The group of everybody who is somebody.
pub(crate) const AUTHENTICATED_GROUP: &str = "system:authenticated";

/// An authenticated user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
    /// How the user proved who they are.
    pub(crate) proof: Proof,
    fingerprint: Fingerprint,
}

/// How a user proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A client certificate: sent by browsers without being asked to.
    Certificate,
    /// A bearer token.
    Token,
}

/// Hash of everything that a permission may depend on. Two users with the same fingerprint may do the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(pub(crate) [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

impl User {
    pub(crate) fn new(
        name: String,
        uid: Option<String>,
        mut groups: Vec<String>,
        extra: BTreeMap<String, Vec<String>>,
        proof: Proof,
    ) -> Self {
        if !groups.iter().any(|group| group == AUTHENTICATED_GROUP) {
            groups.push(AUTHENTICATED_GROUP.to_owned());
        }
        let fingerprint = fingerprint(&name, uid.as_deref(), &groups, &extra);
        Self { name, uid, groups, extra, proof, fingerprint }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

fn fingerprint(
    name: &str,
    uid: Option<&str>,
    groups: &[String],
    extra: &BTreeMap<String, Vec<String>>,
) -> Fingerprint {
    let mut hash = Sha256::new();
    // Every text is preceded by its length, every list by its count: no two users share an input.
    let mut text = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    text(name);
    text(uid.unwrap_or_default());
    text(&groups.len().to_string());
    groups.iter().for_each(|group| text(group));
    for (key, values) in extra {
        text(key);
        text(&values.len().to_string());
        values.iter().for_each(|value| text(value));
    }
    Fingerprint(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, groups: &[&str]) -> User {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        User::new(name.to_owned(), None, groups, BTreeMap::new(), Proof::Token)
    }

    #[test]
    fn users_who_differ_in_anything_have_different_fingerprints() {
        let users = [user("a", &["b", "c"]), user("a", &["bc"]), user("ab", &["c"]), user("a", &["b"])];
        for (index, left) in users.iter().enumerate() {
            for right in &users[index + 1..] {
                assert_ne!(left.fingerprint(), right.fingerprint(), "{left:?} {right:?}");
            }
        }
        assert_eq!(user("a", &["b"]).fingerprint(), user("a", &["b"]).fingerprint());
    }

    #[test]
    fn everybody_who_is_somebody_is_in_the_group_of_the_authenticated() {
        assert_eq!(user("a", &[]).groups, [AUTHENTICATED_GROUP]);
        assert_eq!(user("a", &[AUTHENTICATED_GROUP]).groups, [AUTHENTICATED_GROUP]);
    }
}
