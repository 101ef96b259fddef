//! The life of one request: understand, authenticate, authorise, deliver, tell.
//!
//! The order matters: nothing is looked up before the permission is known, so that who may not see a workspace gets the
//! same answer whether it exists or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vm_api::ProblemCode;
use vm_api::area::Area;
use vm_api::header::SERVER_TIMING;

use crate::answer::{AnswerBody, Ending, Observed, Term};
use crate::audit::Record;
use crate::authenticate::Credentials;
use crate::authorize::Question;
use crate::body::ClientBody;
use crate::config::{Limits, Rate};
use crate::deliver::{self, Delivered, Errand, Postman};
use crate::header;
use crate::lease::{Expiry, Holder, Leases, Running, Stop};
use crate::metrics::{Metrics, Phase};
use crate::openapi::OpenApi;
use crate::peer::{Peer, Presence};
use crate::problem::Refusal;
use crate::rate::{Excess, Meters, Stay};
use crate::request_id::RequestIds;
use crate::review_cache::ANY_AGE;
use crate::route::{self, BodyKind};
use crate::spawn::Spawner;
use crate::trace::Trace;
use crate::tunnel;
use crate::user::{Proof, User};
use crate::websocket::Opening;

/// The body of an answer; tells when it is over.
pub(crate) type ResponseBody = Observed<AnswerBody, Box<dyn FnOnce(Ending) + Send>>;

/// Longer answers are leased like streams: they may take a while.
const LONG_ANSWER_BYTES: u64 = 1024 * 1024;

/// Answers requests.
pub(crate) struct Handler {
    pub(crate) leases: Arc<Leases>,
    pub(crate) postman: Postman,
    pub(crate) openapi: OpenApi,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) slots: Arc<Semaphore>,
    /// By name.
    pub(crate) users: Arc<Meters<String>>,
    pub(crate) request_ids: RequestIds,
    /// For what lives longer than its connection's HTTP.
    pub(crate) spawner: Spawner,
}

/// What a request takes up until its answer is over.
#[derive(Debug)]
struct Place {
    _presence: Presence,
    _slot: Option<OwnedSemaphorePermit>,
    _user: Option<Stay<String>>,
}

/// A request on its way, and what is told about it.
struct Visitor<'a> {
    peer: &'a Arc<Peer>,
    path: &'a str,
    random: [u64; 3],
    request_id: HeaderValue,
    trace: Trace,
    record: Record,
    place: Place,
}

/// What comes of a request.
struct Outcome {
    response: Response<AnswerBody>,
    /// For how long, if it may take long.
    term: Option<Term>,
}

impl From<Response<AnswerBody>> for Outcome {
    fn from(response: Response<AnswerBody>) -> Self {
        Self { response, term: None }
    }
}

/// Time that the gateway took before the runner had the request.
#[derive(Clone, Copy, Debug, Default)]
struct Timing {
    identity: Duration,
    permission: Duration,
}

impl Handler {
    /// Answers a request. Never fails: what goes wrong is an answer too.
    pub(crate) async fn handle(
        &self,
        request: Request<Incoming>,
        peer: &Arc<Peer>,
    ) -> Response<ResponseBody> {
        let random = self.request_ids.next();
        let request_id = header::request_id(request.headers()).unwrap_or_else(|| RequestIds::name(random));
        let trace = Trace::of(request.headers(), random);
        let record = Record::new(self.metrics.clone(), peer.address, request_id.clone(), trace.clone());
        let place = Place { _presence: Presence::of(peer), _slot: None, _user: None };
        let uri = request.uri().clone();
        let mut visitor = Visitor { peer, path: uri.path(), random, request_id, trace, record, place };
        let outcome = self.answer(request, &mut visitor).await;
        self.tell(outcome.map_err(|refusal| refusal.with_instance(uri.path())), visitor)
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        visitor: &mut Visitor<'_>,
    ) -> Result<Outcome, Refusal> {
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| self.too_many_requests())?;
        visitor.place._slot = Some(slot);
        if visitor.path == vm_api::route::OPENAPI {
            return Box::pin(self.show_openapi(&request, visitor)).await;
        }
        let opening = Opening::of(&request);
        if opening == Some(Opening::Connect) {
            *request.method_mut() = Method::GET;
        }
        let call = route::parse(request.method(), visitor.path)?;
        visitor.record.set_target(&call);
        let began = Instant::now();
        let user = self.admit(&request, visitor).await?;
        let identity = began.elapsed();
        let question = Question { namespace: call.namespace, name: call.name, permission: call.permission };
        self.leases.authorizer.authorize(&user, &question).await?;
        let timing = Timing { identity, permission: began.elapsed() - identity };
        let credentials = Credentials::of(request.headers());
        let holder =
            Holder { leases: &self.leases, credentials: &credentials, peer: visitor.peer, call: &call };
        header::prepare_request(request.headers_mut(), &user.name, &visitor.request_id, &visitor.trace);
        match opening.filter(|_| call.is_websocket()) {
            Some(opening) => Box::pin(self.open_tunnel(holder, request, opening, visitor)).await,
            None => self.forward(holder, request, timing).await,
        }
    }

    /// Finds out who asks, and whether they ask too often.
    async fn admit(
        &self,
        request: &Request<Incoming>,
        visitor: &mut Visitor<'_>,
    ) -> Result<Arc<User>, Refusal> {
        let authenticated =
            self.leases.authenticator.authenticate(request.headers(), visitor.peer, ANY_AGE).await;
        let user = authenticated.map_err(|error| {
            if matches!(error, crate::authenticate::Error::TooMany(_)) {
                self.metrics.limited("strangers");
            }
            Refusal::from(error)
        })?;
        visitor.record.set_user(user.clone());
        refuse_cross_site(&user, request)?;
        let stay = self.users.enter(user.name.clone()).map_err(|excess| self.too_much(excess))?;
        visitor.place._user = Some(stay);
        Ok(user)
    }

    async fn show_openapi(
        &self,
        request: &Request<Incoming>,
        visitor: &mut Visitor<'_>,
    ) -> Result<Outcome, Refusal> {
        if *request.method() != Method::GET {
            let detail = format!("{} takes GET only", vm_api::route::OPENAPI);
            return Err(Refusal::new(ProblemCode::MethodNotAllowed, detail).with_allow("GET"));
        }
        self.admit(request, visitor).await?;
        let document = self.openapi.document(&self.postman).await?;
        let mut response = Response::new(AnswerBody::whole(document));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response.into())
    }

    async fn forward(
        &self,
        holder: Holder<'_>,
        request: Request<Incoming>,
        timing: Timing,
    ) -> Result<Outcome, Refusal> {
        let call = holder.call;
        let (parts, body) = request.into_parts();
        let (limit, argument) = match call.body_kind() {
            BodyKind::Document => (self.limits.exec_body_bytes, "--max-exec-body-bytes"),
            BodyKind::Upload | BodyKind::Interactive => {
                (self.limits.file_body_bytes, "--max-file-body-bytes")
            }
        };
        if body.size_hint().lower() > limit {
            return Err(deliver::too_large(limit).with_limit(argument));
        }
        let is_upload = call.body_kind() != BodyKind::Document && !body.is_end_stream();
        let patience = match call.body_kind() {
            BodyKind::Document | BodyKind::Upload => Some(self.postman.timeouts.stall),
            BodyKind::Interactive => None,
        };
        let body = ClientBody::new(body, limit, patience);
        let is_idempotent = call.is_idempotent(&parts.method, &parts.headers, parts.uri.query());
        let only_reads = call.only_reads(&parts.method);
        let errand = Errand { call, parts, is_idempotent };
        let lease = is_upload.then(|| holder.lease(Stop::Waits, Expiry::Ends));
        let Delivered { mut response, held } = tokio::select! {
            biased;
            delivered = self.postman.deliver(&errand, body) => delivered?,
            () = self.leases.last_call.cancelled() => return Err(cut_off()),
            () = over(lease) => return Err(withdrawn()),
        };
        self.observe(timing, held, &mut response);
        let term = term(call.area, only_reads, &response, holder);
        Ok(Outcome { response, term })
    }

    async fn open_tunnel(
        &self,
        holder: Holder<'_>,
        mut request: Request<Incoming>,
        opening: Opening,
        visitor: &mut Visitor<'_>,
    ) -> Result<Outcome, Refusal> {
        let client = hyper::upgrade::on(&mut request);
        let (mut parts, body) = request.into_parts();
        opening.ask(&mut parts.headers, [visitor.random[0], visitor.random[1]]);
        // A request that opens a WebSocket has no body; what an extended CONNECT carries belongs to the tunnel.
        drop(body);
        let errand = Errand { call: holder.call, parts, is_idempotent: true };
        let Delivered { mut response, held: _ } = self.postman.deliver_empty(&errand).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.into());
        }
        let runner = hyper::upgrade::on(&mut response);
        let lease = holder.lease(Stop::Ends, Expiry::Ends);
        let mut record = visitor.record.continued(response.status());
        let place = std::mem::replace(
            &mut visitor.place,
            Place { _presence: Presence::of(visitor.peer), _slot: None, _user: None },
        );
        self.spawner.spawn(async move {
            record.set_ending(tunnel::pass(client, runner, lease).await);
            drop((record, place));
        });
        let mut headers = std::mem::take(response.headers_mut());
        header::strip_hop_by_hop(&mut headers);
        let mut agreed = Response::new(AnswerBody::whole(""));
        *agreed.status_mut() = match opening {
            Opening::Upgrade => StatusCode::SWITCHING_PROTOCOLS,
            Opening::Connect => StatusCode::OK,
        };
        *agreed.headers_mut() = headers;
        agreed.extensions_mut().insert(opening);
        Ok(agreed.into())
    }

    fn observe(&self, timing: Timing, held: Duration, response: &mut Response<AnswerBody>) {
        let Timing { identity, permission } = timing;
        self.metrics.phase(Phase::Authenticate, identity);
        self.metrics.phase(Phase::Authorize, permission);
        let millis = |took: Duration| took.as_secs_f64() * 1_000.0;
        let text = format!(
            "gateway-auth;dur={:.3}, gateway-hold;dur={:.3}",
            millis(identity + permission),
            millis(held)
        );
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().append(SERVER_TIMING, value);
        }
    }

    /// Turns an outcome into an answer that is recorded when it is over.
    fn tell(&self, outcome: Result<Outcome, Refusal>, visitor: Visitor<'_>) -> Response<ResponseBody> {
        let Visitor { request_id, mut record, place, .. } = visitor;
        let code = outcome.as_ref().err().map(|refusal| refusal.problem().code.clone());
        let Outcome { mut response, term } =
            outcome.unwrap_or_else(|refusal| refusal.into_response().map(AnswerBody::Whole).into());
        let opening = response.extensions_mut().remove::<Opening>();
        header::prepare_response(response.headers_mut(), &request_id);
        if let Some(opening) = opening {
            opening.agree(response.headers_mut());
        }
        record.set_answer(response.status(), code);
        if term.is_some() {
            record.begin();
        }
        let done: Box<dyn FnOnce(Ending) + Send> = Box::new(move |ending| {
            record.set_ending(ending);
            drop((record, place));
        });
        response.map(|body| Observed::new(body, term, done))
    }

    fn too_many_requests(&self) -> Refusal {
        self.metrics.limited("requests");
        Refusal::new(
            ProblemCode::LimitConnections,
            "this gateway works on as many requests as it may; try again",
        )
        .with_limit("--max-requests")
        .retry_after(1)
    }

    fn too_much(&self, excess: Excess) -> Refusal {
        let Rate { per_second, burst } = self.limits.user_rate;
        match excess {
            Excess::AtOnce => {
                self.metrics.limited("user-requests");
                let detail = format!(
                    "{} requests of yours are going on at this gateway, as many as may; wait for one to end",
                    self.limits.user_requests
                );
                Refusal::new(ProblemCode::LimitUserRequests, detail)
                    .with_limit("--max-user-requests")
                    .retry_after(1)
            }
            Excess::Rate(wait) => {
                self.metrics.limited("user-rate");
                let detail = format!(
                    "you may make {per_second} requests a second at this gateway, and {burst} at once; slow down"
                );
                Refusal::new(ProblemCode::LimitUserRequests, detail)
                    .with_limit("--max-user-requests-per-second")
                    .retry_after(wait.as_secs().saturating_add(1).try_into().unwrap_or(u32::MAX))
            }
        }
    }
}

/// For how long an answer may go on, if it may take long.
fn term(area: Area, only_reads: bool, response: &Response<AnswerBody>, holder: Holder<'_>) -> Option<Term> {
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_events = kind.starts_with(b"text/event-stream");
    let size = response.body().size_hint().exact();
    if response.body().is_end_stream() || (!is_events && size.is_some_and(|size| size <= LONG_ANSWER_BYTES)) {
        return None;
    }
    // A stream of what happens anyway is read on from elsewhere; what a command says is lost with its connection.
    let stop = if is_events && only_reads { Stop::Ends } else { Stop::Waits };
    let expiry = if area == Area::Exec { Expiry::Passes } else { Expiry::Ends };
    Some(Term { lease: holder.lease(stop, expiry), just_ends: stop == Stop::Ends })
}

/// Completes when a lease is over; never without one.
async fn over(lease: Option<Running>) {
    match lease {
        Some(lease) => drop(lease.await),
        None => std::future::pending().await,
    }
}

fn cut_off() -> Refusal {
    Refusal::new(
        ProblemCode::ShuttingDown,
        "this gateway stops and could not wait for the answer any longer; the request may have been carried out: look \
         before you send it again",
    )
    .with_status(StatusCode::BAD_GATEWAY)
    .with_limit("--drain-timeout")
}

fn withdrawn() -> Refusal {
    Refusal::new(
        ProblemCode::Forbidden,
        "your token or your permission ceased to count in the middle of the request; it may have been carried out in \
         part: get a new token, or ask for the role again",
    )
}

/// Browsers send client certificates with every request, also with those that a foreign page makes them send.
fn refuse_cross_site(user: &User, request: &Request<Incoming>) -> Result<(), Refusal> {
    match user.proof {
        Proof::Certificate if header::is_cross_site(request) => Err(Refusal::new(
            ProblemCode::Forbidden,
            "a page of another origin made the browser send this request with your client certificate: use a bearer \
             token there",
        )),
        Proof::Certificate | Proof::Token => Ok(()),
    }
}
