//! May they: by the API server's SubjectAccessReview on a virtual subresource of the workspace.
//!
//! Asked before anything is looked up, so that the answer is the same for a workspace that does not exist.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use lodge_crds::label::{GROUP, VERSION};
use sha2::{Digest as _, Sha256};
use vm_api::ProblemCode;
use vm_api::area::Permission;

use crate::config::Timeouts;
use crate::metrics::ReviewKind;
use crate::problem::Refusal;
use crate::review::{self, Reviewer};
use crate::review_cache::{ANY_AGE, Key, Review, ReviewCache, Reviewed};
use crate::spawn::Spawner;
use crate::user::User;

const RESOURCE: &str = "workspaces";

/// Asks whether a user may do something.
pub(crate) struct Authorizer {
    reviewer: Reviewer,
    timeouts: Timeouts,
    decisions: ReviewCache<bool, review::Error>,
}

/// Whether somebody may do something with a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) permission: Permission,
}

impl Authorizer {
    pub(crate) fn new(reviewer: Reviewer, timeouts: Timeouts, capacity: usize, spawner: Spawner) -> Self {
        Self { reviewer, timeouts, decisions: ReviewCache::new(capacity, spawner) }
    }

    /// Lets a call pass, or says why not.
    pub(crate) async fn authorize(&self, user: &User, question: &Question<'_>) -> Result<(), Refusal> {
        match self.may(user, question, ANY_AGE).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(forbidden(user, question)),
            Err(review::Error::Busy) => {
                Err(unavailable("too many reviews at once").with_limit("--max-reviews"))
            }
            Err(review::Error::TimedOut | review::Error::Failed(_)) => {
                Err(unavailable("the cluster's API server does not answer"))
            }
        }
    }

    /// Whether they may, as an answer of the API server says that is no older than that.
    pub(crate) async fn may(
        &self,
        user: &User,
        question: &Question<'_>,
        most_age: Duration,
    ) -> Result<bool, review::Error> {
        self.decisions.get_or_ask(key(user, question), most_age, || self.review(user, question)).await
    }

    fn review(
        &self,
        user: &User,
        question: &Question<'_>,
    ) -> impl Future<Output = Review<bool, review::Error>> + Send + use<> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: user.uid.clone(),
                groups: Some(user.groups.clone()),
                extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
                resource_attributes: Some(attributes(question)),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let (reviewer, timeouts) = (self.reviewer.clone(), self.timeouts.clone());
        async move {
            let reviewed = reviewer.create(ReviewKind::Access, &review).await?;
            let allowed = reviewed.status.is_some_and(|status| is_allowed(&status));
            let (ttl, grace) = match allowed {
                true => (timeouts.allowed, timeouts.outage_grace),
                false => (timeouts.denied, Duration::ZERO),
            };
            Ok(Reviewed { answer: allowed, ttl, grace })
        }
    }
}

fn attributes(question: &Question<'_>) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(GROUP.to_owned()),
        version: Some(VERSION.to_owned()),
        resource: Some(RESOURCE.to_owned()),
        subresource: Some(question.permission.subresource.to_owned()),
        verb: Some(question.permission.verb.to_owned()),
        namespace: Some(question.namespace.to_owned()),
        name: Some(question.name.to_owned()),
        ..ResourceAttributes::default()
    }
}

fn is_allowed(status: &SubjectAccessReviewStatus) -> bool {
    status.allowed && status.denied != Some(true)
}

fn key(user: &User, question: &Question<'_>) -> Key {
    let mut hash = Sha256::new();
    hash.update(user.fingerprint().0);
    // None of the four can hold the separator.
    for text in [question.permission.verb, question.permission.subresource, question.namespace, question.name]
    {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

fn forbidden(user: &User, question: &Question<'_>) -> Refusal {
    let (verb, subresource) = (question.permission.verb, question.permission.subresource);
    let (namespace, name) = (question.namespace, question.name);
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
    use crate::user::Proof;

    fn jane() -> User {
        User::new("jane".to_owned(), None, Vec::new(), BTreeMap::new(), Proof::Token)
    }

    const EXEC: Permission = Permission { verb: "create", subresource: "exec" };
    const READ: Permission = Permission { verb: "get", subresource: "files" };
    const WRITE: Permission = Permission { verb: "update", subresource: "files" };

    fn question<'a>(namespace: &'a str, name: &'a str, permission: Permission) -> Question<'a> {
        Question { namespace, name, permission }
    }

    #[test]
    fn every_permission_has_a_key_of_its_own() {
        let questions = [
            question("a", "b", EXEC),
            question("a", "b", READ),
            question("a", "b", WRITE),
            question("ab", "c", EXEC),
            question("a", "bc", EXEC),
        ];
        let keys: std::collections::HashSet<_> =
            questions.iter().map(|question| key(&jane(), question)).collect();
        assert_eq!(keys.len(), questions.len());
    }

    #[test]
    fn a_refusal_names_the_permission_and_how_to_check_and_grant_it() {
        let detail = forbidden(&jane(), &question("team-a", "ada", EXEC)).problem().detail.clone();
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
