//! May they: by the API server's SubjectAccessReview on a virtual subresource of the workspace.
//!
//! Asked before anything is looked up, so that the answer is the same for a workspace that does not exist.

use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use lodge_crds::label::{GROUP, VERSION};
use sha2::{Digest as _, Sha256};
use vm_api::ProblemCode;

use crate::config::Timeouts;
use crate::metrics::ReviewKind;
use crate::problem::Refusal;
use crate::review::{self, Reviewer};
use crate::review_cache::{Key, Review, ReviewCache};
use crate::route::Call;
use crate::user::User;

const RESOURCE: &str = "workspaces";

/// Asks whether a user may do something.
pub(crate) struct Authorizer {
    reviewer: Reviewer,
    timeouts: Timeouts,
    decisions: ReviewCache<bool, review::Error>,
}

impl Authorizer {
    pub(crate) fn new(reviewer: Reviewer, timeouts: Timeouts, capacity: usize) -> Self {
        Self { reviewer, timeouts, decisions: ReviewCache::new(capacity) }
    }

    /// Lets a call pass, or says why not.
    pub(crate) async fn authorize(&self, user: &Arc<User>, call: &Call<'_>) -> Result<(), Refusal> {
        match self.decisions.get_or_ask(key(user, call), || self.review(user, call)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(forbidden(user, call)),
            Err(review::Error::Busy) => {
                Err(unavailable("too many reviews at once").with_limit("--max-reviews"))
            }
            Err(review::Error::TimedOut | review::Error::Failed(_)) => {
                Err(unavailable("the cluster's API server does not answer"))
            }
        }
    }

    fn review(
        &self,
        user: &User,
        call: &Call<'_>,
    ) -> impl Future<Output = Review<bool, review::Error>> + Send + use<> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: user.uid.clone(),
                groups: Some(user.groups.clone()),
                extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
                resource_attributes: Some(attributes(call)),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let (reviewer, timeouts) = (self.reviewer.clone(), self.timeouts.clone());
        async move {
            let reviewed = reviewer.create(ReviewKind::Access, &review).await?;
            let allowed = reviewed.status.is_some_and(|status| is_allowed(&status));
            Ok((allowed, if allowed { timeouts.allowed } else { timeouts.denied }))
        }
    }
}

fn attributes(call: &Call<'_>) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(GROUP.to_owned()),
        version: Some(VERSION.to_owned()),
        resource: Some(RESOURCE.to_owned()),
        subresource: Some(call.action.subresource().to_owned()),
        verb: Some(call.action.verb().to_owned()),
        namespace: Some(call.namespace.to_owned()),
        name: Some(call.name.to_owned()),
        ..ResourceAttributes::default()
    }
}

fn is_allowed(status: &SubjectAccessReviewStatus) -> bool {
    status.allowed && status.denied != Some(true)
}

fn key(user: &User, call: &Call<'_>) -> Key {
    let mut hash = Sha256::new();
    hash.update(user.fingerprint().0);
    // None of the four can hold the separator.
    for text in [call.action.verb(), call.action.subresource(), call.namespace, call.name] {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

fn forbidden(user: &User, call: &Call<'_>) -> Refusal {
    let (verb, subresource) = (call.action.verb(), call.action.subresource());
    let (namespace, name) = (call.namespace, call.name);
    Refusal::new(
        ProblemCode::Forbidden,
        format!(
            "user {:?} may not {verb} {RESOURCE}/{subresource} in namespace {namespace} (workspace {name}); check with \
             `kubectl auth can-i {verb} {RESOURCE}.{GROUP}/{name} --subresource={subresource} -n {namespace}`, and let \
             an administrator of the namespace grant it: a Role with apiGroups [{GROUP}], resources \
             [{RESOURCE}/{subresource}], verbs [{verb}]",
            user.name,
        ),
    )
}

fn unavailable(why: &str) -> Refusal {
    Refusal::new(
        ProblemCode::AuthorizationUnavailable,
        format!("whether you may do this cannot be checked now: {why}; try again"),
    )
    .retry_after(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::route::Action;
    use crate::user::Proof;

    fn jane() -> User {
        User::new("jane".to_owned(), None, Vec::new(), BTreeMap::new(), Proof::Token)
    }

    fn call<'a>(namespace: &'a str, name: &'a str, action: Action) -> Call<'a> {
        Call { namespace, name, area: "", action }
    }

    #[test]
    fn every_permission_has_a_key_of_its_own() {
        let calls = [
            call("a", "b", Action::Exec),
            call("a", "b", Action::ReadFiles),
            call("a", "b", Action::WriteFiles),
            call("ab", "c", Action::Exec),
            call("a", "bc", Action::Exec),
        ];
        let keys: std::collections::HashSet<_> = calls.iter().map(|call| key(&jane(), call)).collect();
        assert_eq!(keys.len(), calls.len());
    }

    #[test]
    fn a_refusal_names_the_permission_and_how_to_check_and_grant_it() {
        let detail = forbidden(&jane(), &call("team-a", "ada", Action::Exec)).problem().detail.clone();
        for part in [
            "may not create workspaces/exec in namespace team-a",
            "kubectl auth can-i create workspaces.lodge.dev/ada --subresource=exec -n team-a",
            "resources [workspaces/exec], verbs [create]",
        ] {
            assert!(detail.contains(part), "{detail}");
        }
    }

    #[test]
    fn an_explicit_denial_wins() {
        let status = SubjectAccessReviewStatus { allowed: true, denied: Some(true), ..Default::default() };
        assert!(!is_allowed(&status));
    }
}
