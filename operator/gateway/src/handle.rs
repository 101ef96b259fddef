//! The life of one request: understand, authenticate, authorise, deliver, tell.
//!
//! The order matters: nothing is looked up before the permission is known, so that who may not see a workspace gets the
//! same answer whether it exists or not.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vm_api::ProblemCode;
use vm_api::header::SERVER_TIMING;

use crate::audit::Record;
use crate::authenticate::Authenticator;
use crate::authorize::Authorizer;
use crate::body::{ClientBody, Ending, Observed};
use crate::client_ca::PeerCertificate;
use crate::config::Limits;
use crate::deliver::{self, AnswerBody, Delivered, Postman};
use crate::header;
use crate::metrics::{Metrics, Phase};
use crate::problem::Refusal;
use crate::route::{self, Action, Call};
use crate::user::{Proof, User};

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) certificate: Option<PeerCertificate>,
}

/// The body of an answer; tells when it is over.
pub(crate) type ResponseBody = Observed<AnswerBody, Box<dyn FnOnce(Ending) + Send>>;

/// Answers requests.
pub(crate) struct Handler {
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Authorizer,
    pub(crate) postman: Postman,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) request_ids: RequestIds,
}

/// Time that the gateway took before the runner had the request.
#[derive(Clone, Copy, Debug, Default)]
struct Timing {
    identity: Duration,
    permission: Duration,
}

impl Handler {
    /// Answers a request. Never fails: what goes wrong is an answer too.
    pub(crate) async fn handle(&self, mut request: Request<Incoming>, peer: &Peer) -> Response<ResponseBody> {
        let request_id = header::request_id(request.headers()).unwrap_or_else(|| self.request_ids.next());
        let mut record = Record::new(self.metrics.clone(), peer.address, request_id.clone());
        let path = request.uri().path().to_owned();
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            let refusal = too_many_requests().with_instance(&path);
            return tell(Err(refusal), record, &request_id, None);
        };
        let outcome = self.answer(&mut request, &path, peer, &mut record, &request_id).await;
        let outcome = match outcome {
            Ok((call, timing)) => self.deliver(&call, request, timing).await,
            Err(refusal) => Err(refusal),
        };
        tell(outcome.map_err(|refusal| refusal.with_instance(&path)), record, &request_id, Some(slot))
    }

    /// Everything up to the delivery.
    async fn answer<'a>(
        &self,
        request: &mut Request<Incoming>,
        path: &'a str,
        peer: &Peer,
        record: &mut Record,
        request_id: &HeaderValue,
    ) -> Result<(Call<'a>, Timing), Refusal> {
        let call = route::parse(request.method(), path)?;
        record.set_target(&call);

        let began = Instant::now();
        let user = self.authenticator.authenticate(request.headers(), peer.certificate.as_ref()).await?;
        record.set_user(user.clone());
        let identity = began.elapsed();
        refuse_cross_site(&user, request)?;

        self.authorizer.authorize(&user, &call).await?;
        let timing = Timing { identity, permission: began.elapsed() - identity };
        header::prepare_request(request.headers_mut(), &user.name, request_id);
        Ok((call, timing))
    }

    async fn deliver(
        &self,
        call: &Call<'_>,
        request: Request<Incoming>,
        timing: Timing,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let (parts, body) = request.into_parts();
        let limit = match call.action {
            Action::Exec => self.limits.exec_body_bytes,
            Action::ReadFiles | Action::WriteFiles => self.limits.file_body_bytes,
        };
        let argument = match call.action {
            Action::Exec => "--max-exec-body-bytes",
            Action::ReadFiles | Action::WriteFiles => "--max-file-body-bytes",
        };
        if body.size_hint().lower() > limit {
            return Err(deliver::too_large(limit).with_limit(argument));
        }
        let body = ClientBody::new(body, limit, self.postman.timeouts.stall);
        let Delivered { mut response, held } = self.postman.deliver(call, parts, body).await?;
        let Timing { identity, permission } = timing;
        self.metrics.phase(Phase::Authenticate, identity);
        self.metrics.phase(Phase::Authorize, permission);
        let millis = |took: Duration| took.as_secs_f64() * 1_000.0;
        let text = format!(
            "gateway-auth;dur={:.3}, gateway-hold;dur={:.3}",
            millis(identity + permission),
            millis(held)
        );
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(SERVER_TIMING, value);
        }
        Ok(response)
    }
}

/// Turns an outcome into an answer that is recorded when it is over.
fn tell(
    outcome: Result<Response<AnswerBody>, Refusal>,
    mut record: Record,
    request_id: &HeaderValue,
    slot: Option<OwnedSemaphorePermit>,
) -> Response<ResponseBody> {
    let code = outcome.as_ref().err().map(|refusal| refusal.problem().code.clone());
    let mut response = outcome.unwrap_or_else(|refusal| {
        refusal.into_response().map(|body| body.map_err(|never| match never {}).boxed_unsync())
    });
    header::prepare_response(response.headers_mut(), request_id);
    record.set_answer(response.status(), code);
    let done: Box<dyn FnOnce(Ending) + Send> = Box::new(move |ending| {
        record.set_ending(ending);
        drop((record, slot));
    });
    response.map(|body| Observed::new(body, done))
}

/// Browsers send client certificates with every request, also with those that a foreign page makes them send.
fn refuse_cross_site(user: &User, request: &Request<Incoming>) -> Result<(), Refusal> {
    match user.proof {
        Proof::Certificate if header::is_cross_site(request.headers()) => Err(Refusal::new(
            ProblemCode::Forbidden,
            "a page of another origin made the browser send this request with your client certificate: use a bearer \
             token there",
        )),
        Proof::Certificate | Proof::Token => Ok(()),
    }
}

fn too_many_requests() -> Refusal {
    Refusal::new(ProblemCode::LimitConnections, "this gateway works on as many requests as it may; try again")
        .with_limit("--max-requests")
        .retry_after(1)
}

/// Names for requests that came without one. Not secret, only different.
#[derive(Debug, Default)]
pub(crate) struct RequestIds {
    left: RandomState,
    right: RandomState,
    count: AtomicU64,
}

impl RequestIds {
    fn next(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:016x}{:016x}", self.left.hash_one(count), self.right.hash_one(count));
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_gets_a_name_of_its_own() {
        let ids = RequestIds::default();
        let names: std::collections::HashSet<_> = (0..1_000).map(|_| ids.next()).collect();
        assert_eq!(names.len(), 1_000);
        assert!(names.iter().all(|name| name.len() == 32));
    }
}
