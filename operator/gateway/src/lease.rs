//! For how long a stream may go on: who holds it is reviewed again every few seconds, and a gateway that stops asks its
//! clients to come back elsewhere.
//!
//! Whoever was let in once would otherwise stay for as long as they please, whatever becomes of their token and of their
//! permission. The credentials are kept in memory for as long as the stream lives, because nothing else can be reviewed;
//! they are never logged or forwarded.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vm_api::area::Permission;

use crate::authenticate::{self, Authenticator, Credentials};
use crate::authorize::{Authorizer, Question};
use crate::config::Timeouts;
use crate::peer::Peer;
use crate::route::Call;

/// What was withdrawn must have ended within this, the interval and a review included.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(9);

/// Why the gateway ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// The gateway stops; another one goes on.
    Stopping,
    /// The user's token or permission does not count any longer, or nobody can say.
    Withdrawn,
}

impl Parting {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "gateway-stopping",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A lease that is running; completes when it is over.
pub(crate) type Running = Pin<Box<dyn Future<Output = Parting> + Send>>;

/// Gives leases.
pub(crate) struct Leases {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) timeouts: Timeouts,
    /// No new requests, please.
    pub(crate) closing: CancellationToken,
    /// No more waiting for answers, please: everything is cut off in a moment.
    pub(crate) last_call: CancellationToken,
}

/// Who may hold a stream, and what they need for it. Costs nothing until there is one.
#[derive(Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) leases: &'a Arc<Leases>,
    pub(crate) credentials: &'a Credentials,
    pub(crate) peer: &'a Arc<Peer>,
    pub(crate) call: &'a Call<'a>,
}

/// The same, for as long as it takes.
struct Tenant {
    leases: Arc<Leases>,
    credentials: Credentials,
    peer: Arc<Peer>,
    namespace: Box<str>,
    name: Box<str>,
    permission: Permission,
}

/// Whether a lease ends because the gateway stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The stream can be resumed elsewhere.
    Ends,
    /// What goes on can only be done once; it has until the gateway's drain timeout.
    Waits,
}

/// Whether a lease ends when the token, which was good, has merely expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// The client comes back with a new one.
    Ends,
    /// A command that runs goes on, as it does with `kubectl exec`.
    Passes,
}

impl Holder<'_> {
    /// Completes when the stream must end.
    pub(crate) fn lease(self, stop: Stop, expiry: Expiry) -> Running {
        let Self { leases, credentials, peer, call } = self;
        let tenant = Tenant {
            leases: leases.clone(),
            credentials: credentials.clone(),
            peer: peer.clone(),
            namespace: call.namespace.into(),
            name: call.name.into(),
            permission: call.permission,
        };
        let closing = leases.closing.clone();
        let withdrawn = tenant.withdrawn(expiry);
        Box::pin(async move {
            match stop {
                Stop::Ends => tokio::select! {
                    () = closing.cancelled() => Parting::Stopping,
                    parting = withdrawn => parting,
                },
                Stop::Waits => withdrawn.await,
            }
        })
    }
}

impl Tenant {
    async fn withdrawn(self, expiry: Expiry) -> Parting {
        let Timeouts { stream_recheck, .. } = self.leases.timeouts;
        let most_age = WITHDRAWN_WITHIN.saturating_sub(stream_recheck);
        let mut confirmed = Instant::now();
        loop {
            tokio::time::sleep(stream_recheck).await;
            match self.review(most_age, expiry).await {
                Some(true) => confirmed = Instant::now(),
                Some(false) => return Parting::Withdrawn,
                // Nobody can say, and the grace of what was remembered is over. One failure may be an accident.
                None if confirmed.elapsed() > 2 * stream_recheck => return Parting::Withdrawn,
                None => {}
            }
        }
    }

    /// Whether the stream may go on, if anybody can say.
    async fn review(&self, most_age: Duration, expiry: Expiry) -> Option<bool> {
        let Leases { authenticator, authorizer, .. } = &*self.leases;
        let user = match authenticator.authenticate(&self.credentials.headers(), &self.peer, most_age).await {
            Ok(user) => user,
            Err(authenticate::Error::Unavailable(_) | authenticate::Error::TooMany(_)) => return None,
            Err(_) if expiry == Expiry::Passes && self.credentials.have_expired() => return Some(true),
            Err(_) => return Some(false),
        };
        let Self { namespace, name, permission, .. } = self;
        let question = Question { namespace, name, permission: *permission };
        authorizer.may(&user, &question, most_age).await.ok()
    }
}
