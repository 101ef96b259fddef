//! The uid of a workspace: what routes and folders are named by.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use vm_api::{Problem, ProblemCode};

/// Longest uid; Kubernetes' are 36 characters.
const MAX_UID_BYTES: usize = 63;

/// The uid of a workspace. Letters, digits and dashes only, so that it is safe in a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Uid(Arc<str>);

impl Uid {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Uid {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let is_valid = !text.is_empty()
            && text.len() <= MAX_UID_BYTES
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if is_valid {
            return Ok(Self(text.into()));
        }
        let shown: String = text.chars().take(MAX_UID_BYTES).collect();
        let detail = format!(
            "{shown:?} cannot be the uid of a workspace: 1 to {MAX_UID_BYTES} letters, digits and dashes"
        );
        Err(Problem::new(ProblemCode::WorkspaceNotFound, detail))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Uid;

    #[test]
    fn a_uid_never_leads_out_of_its_folder() {
        for text in ["", "..", "a/b", ".lock", "a%2fb", &"x".repeat(64)] {
            assert!(text.parse::<Uid>().is_err(), "{text}");
        }
        assert!("0b5e2a2c-8f3d-4f0e-9c51-0a51b1e0b0aa".parse::<Uid>().is_ok());
    }
}
