//! Which audiences a token review asks for, and how it gets past the memory of the API server.
//!
//! The API server remembers for ten seconds that a token is good, by token and audiences, and answers reviews from that: a
//! token that was revoked would count for so long, and for the gateway's own memory on top. So every review of a token that
//! was good before asks for one audience more, which nobody has and which is never the same; its answer is always fresh. What
//! is asked for beside it is what is configured, or what the API server said last that this token is meant for.

use std::time::Duration;

use crate::request_id::RequestIds;

/// For so long the API server remembers a good token, and somewhat more.
pub(crate) const API_SERVER_MEMORY: Duration = Duration::from_secs(11);
/// Begins the audience that nobody has.
const MARK: &str = "review.gateway.lodge.dev/";

/// The audiences of reviews.
#[derive(Debug, Default)]
pub(crate) struct Audiences {
    configured: Vec<String>,
    marks: RequestIds,
}

/// What one review asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// One of these must be meant; any of the API server's own if there are none.
    pub(crate) real: Vec<String>,
    mark: Option<String>,
}

impl Audiences {
    pub(crate) fn new(configured: &[String]) -> Self {
        Self { configured: configured.to_vec(), ..Self::default() }
    }

    /// Whether the API server's own audiences are asked for.
    pub(crate) fn are_its_own(&self) -> bool {
        self.configured.is_empty()
    }

    /// What the next review of a token asks for, which was meant for these when it was good before.
    pub(crate) fn wanted(&self, meant: &[String]) -> Wanted {
        let real = if self.are_its_own() { meant.to_vec() } else { self.configured.clone() };
        // A review that asks for nothing asks for the API server's own, and tells which they are.
        let mark = (!real.is_empty()).then(|| {
            let name = RequestIds::name(self.marks.next());
            format!("{MARK}{}", name.to_str().unwrap_or_default())
        });
        Wanted { real, mark }
    }
}

impl Wanted {
    /// As the API server takes it.
    pub(crate) fn in_review(&self) -> Option<Vec<String>> {
        let list: Vec<String> = self.real.iter().chain(&self.mark).cloned().collect();
        (!list.is_empty()).then_some(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_reviews_of_a_known_token_ask_the_same() {
        let audiences = Audiences::new(&[]);
        assert_eq!(audiences.wanted(&[]).in_review(), None, "it is new");
        let meant = ["https://kubernetes".to_owned()];
        let lists = [(); 2].map(|()| audiences.wanted(&meant).in_review().unwrap());
        assert_eq!((lists[0].len(), &lists[0][..1], &lists[1][..1]), (2, &meant[..], &meant[..]));
        assert_ne!(lists[0][1], lists[1][1]);
    }

    #[test]
    fn what_is_configured_is_asked_for_whatever_a_token_was_meant_for() {
        let audiences = Audiences::new(&["lodge".to_owned()]);
        for meant in [&[][..], &["lodge".to_owned(), "vault".to_owned()]] {
            assert_eq!(audiences.wanted(meant).real, ["lodge"]);
        }
    }
}
