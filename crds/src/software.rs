//! The software of a Workspace: packages of the runner image, or of an npm registry.
//!
//! Knows nothing of what a package contains; that is the runner's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{env::SecretRef, name::HttpUrl, schema::max_length, text::text};

text! {
    /// The name of a software package, as the runner's catalogue has it.
    PackageName: "package name", max 63,
    rule "self.matches(r'^[a-z0-9]([-a-z0-9._]*[a-z0-9])?$')",
    else "use at most 63 lower-case letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    if |name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

text! {
    /// The name of a package in an npm registry, with its scope if it has one.
    NpmPackageName: "npm package name", max 214,
    rule "self.matches(r'^(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*$')",
    else "write the name as in the registry, such as left-pad or @scope/name, in lower case",
    if is_npm_name
}

text! {
    /// An exact version of an npm package.
    NpmVersion: "version", max 64,
    rule "self.matches(r'^[0-9]+[.][0-9]+[.][0-9]+([-+][0-9A-Za-z.+-]+)?$')",
    else "pin an exact version such as 1.4.2; ranges and tags would change under a running workspace",
    if is_exact_version
}

/// A software package that the guest finds in its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareRef {
    /// Name of the package. Without npm it is a package of the runner image, such as common or pi.
    pub name: PackageName,
    /// Takes the package from an npm registry instead of the runner image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub npm: Option<NpmSource>,
}

impl SoftwareRef {
    /// The package of this name in the runner image.
    pub fn bundled(name: PackageName) -> Self {
        Self { name, npm: None }
    }
}

/// A package of an npm registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NpmSource {
    /// Name of the package in the registry, with its scope if it has one.
    pub name: NpmPackageName,
    /// The exact version, such as 1.4.2.
    pub version: NpmVersion,
    /// URL of the registry. Default: the one that the runners are set up with, which is registry.npmjs.org unless
    /// the installation has a mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<HttpUrl>,
    /// A Secret whose key token authenticates at the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// The integrity that the registry's archive must have, as in a lock file, such as sha512-….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(256))]
    pub integrity: Option<String>,
}

/// What a Workspace has if it doesn't say: the package common.
pub(crate) fn default_software() -> Vec<SoftwareRef> {
    vec![SoftwareRef::bundled(PackageName::known("common"))]
}

fn is_npm_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._~-".contains(&b);
        !part.is_empty() && !part.starts_with(['.', '_']) && part.bytes().all(allowed)
    };
    match name.strip_prefix('@') {
        None => is_part(name),
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, rest)| is_part(scope) && is_part(rest)),
    }
}

fn is_exact_version(version: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (numbers, rest) = version.split_at(version.find(['-', '+']).unwrap_or(version.len()));
    numbers.split('.').count() == 3
        && numbers.split('.').all(is_number)
        && rest.len() != 1
        && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npm_names_may_have_a_scope() {
        for right in ["left-pad", "@agentos-software/pi", "a.b_c~d"] {
            assert!(NpmPackageName::new(right).is_ok(), "{right:?}");
        }
        for wrong in ["@scope", "@/a", "a/b", "@a/b/c", ".hidden", "Upper", "@a/_b"] {
            assert!(NpmPackageName::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn versions_are_exact() {
        for right in ["1.2.3", "0.0.260331072558", "1.0.0-rc.1", "1.0.0+build"] {
            assert!(NpmVersion::new(right).is_ok(), "{right:?}");
        }
        for wrong in ["^1.2.3", "1.2", "latest", "1.x.0", "1.2.3-", "v1.2.3", ">=1.0.0"] {
            assert!(NpmVersion::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
