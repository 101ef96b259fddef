//! The way to the gateway: where it is, whom to trust, and requests to it.
//!
//! Where: `--gateway`, or the address in ConfigMap `lodge-gateway`, or a port-forward to one of its pods. Whom: the CA of the
//! same ConfigMap, for the gateway's own name; the address's host name counts too, where the certificate has it.
//!
//! A request that changes something is never sent twice: it is sent again only if the gateway says that it was not
//! carried out, or if it certainly did not leave this machine.

mod ask;
mod endpoint;
mod patience;
mod reply;
mod trust;
pub(crate) mod web_socket;

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use vm_api::{Problem, ProblemCode, problem};

use self::ask::RequestBody;
pub(crate) use self::ask::{Ask, ChunkBody};
use self::endpoint::{Endpoint, parse_address};
pub(crate) use self::patience::Patience;
pub(crate) use self::reply::Reply;
use self::reply::{Connection, Idle};
use self::trust::{Others, roots, trust};
use crate::args::ClusterArgs;
use crate::cluster::{Credentials, api_error};
use crate::error::{Error, causes};
use crate::place::check_name;
use crate::task;

const CONFIG_MAP: &str = "lodge-gateway";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest problem document that is taken.
const PROBLEM_BYTES: usize = 1 << 20;

/// A gateway that can be asked.
pub(crate) struct Gateway {
    endpoint: Endpoint,
    name: ServerName<'static>,
    tls: TlsConnector,
    authorization: Option<HeaderValue>,
    idle: Idle,
}

/// Why an attempt brought no answer.
enum Failure {
    /// The gateway has certainly not begun with the request.
    NotSent(Error),
    /// It may have.
    Broken(Error),
}

/// What an answer that is no success means.
enum Refusal {
    Final(Error),
    NotYet(Problem, Option<Duration>),
}

impl Gateway {
    /// Finds the gateway of a cluster.
    pub(crate) async fn find(
        client: Client,
        credentials: Credentials,
        args: &ClusterArgs,
    ) -> Result<Self, Error> {
        let lodge = &args.lodge_namespace;
        check_name("namespace", lodge)?;
        // What can be seen to be wrong is refused before anybody is asked.
        args.gateway.as_deref().map_or(Ok(()), |address| parse_address(address).map(|_| ()))?;
        let published = match (&args.gateway, &args.gateway_ca) {
            (Some(_), Some(_)) => None,
            (Some(_), None) | (None, _) => Some(config_map(&client, lodge).await?),
        };
        let entry =
            |key: &str| published.as_ref()?.data.as_ref()?.get(key).filter(|text| !text.is_empty()).cloned();
        let roots = match &args.gateway_ca {
            Some(path) => {
                let from = path.display().to_string();
                let pem = std::fs::read(path)
                    .map_err(|error| Error::Ca { from: from.clone(), why: error.to_string() })?;
                roots(&pem, from)?
            }
            None => {
                let pem = entry("ca.crt").ok_or_else(|| Error::NoCa(lodge.clone()))?;
                roots(pem.as_bytes(), format!("in ConfigMap {lodge}/{CONFIG_MAP}"))?
            }
        };
        let own_name = format!("lodge-gateway.{lodge}.svc");
        let (endpoint, host) = match args.gateway.clone().or_else(|| entry("address")) {
            Some(address) => {
                let (host, port) = parse_address(&address)?;
                (Endpoint::Address { host: host.clone(), port }, host)
            }
            None => (Endpoint::pod(client, lodge).await?, own_name.clone()),
        };
        let server_name =
            |name: &str| ServerName::try_from(name.to_owned()).map_err(|_| Error::Address(name.to_owned()));
        let others = if args.gateway_ca.is_some() { Others::Nobody } else { Others::System };
        let tls = trust(credentials.tls, roots, server_name(&own_name)?, others)?;
        Ok(Self {
            endpoint,
            name: server_name(host.trim_matches(['[', ']']))?,
            tls: TlsConnector::from(Arc::new(tls)),
            authorization: credentials.authorization,
            idle: Idle::default(),
        })
    }

    /// Sends a request and gives the head of its answer, a success.
    pub(crate) async fn ask(&self, mut ask: Ask, mut patience: Patience<'_>) -> Result<Reply, Error> {
        loop {
            match self.attempt(&mut ask).await {
                Ok(reply) if reply.status().is_success() => return Ok(reply),
                Ok(reply) if reply.status() == StatusCode::SWITCHING_PROTOCOLS => return Ok(reply),
                Ok(reply) => match self.refusal(reply).await? {
                    Refusal::NotYet(problem, after) if ask.is_replayable() => {
                        patience.wait(problem, after).await?;
                    }
                    Refusal::NotYet(problem, _) => return Err(Error::Problem(Box::new(problem))),
                    Refusal::Final(error) => return Err(error),
                },
                Err(Failure::Broken(error)) if ask.is_safe() => patience.repeat(error).await?,
                Err(Failure::NotSent(error) | Failure::Broken(error)) => return Err(error),
            }
        }
    }

    async fn attempt(&self, ask: &mut Ask) -> Result<Reply, Failure> {
        // What is sent as it comes could not be sent again if the connection turns out to be closed.
        if !ask.is_stream()
            && let Some(connection) = self.idle.take()
        {
            match self.exchange(connection, ask).await {
                Ok(reply) => return Ok(reply),
                Err(Failure::NotSent(_)) => {}
                Err(Failure::Broken(_)) if ask.is_safe() => {}
                Err(failure) => return Err(failure),
            }
        }
        let connection = self.connect().await.map_err(Failure::NotSent)?;
        self.exchange(connection, ask).await
    }

    async fn exchange(&self, mut connection: Connection, ask: &mut Ask) -> Result<Reply, Failure> {
        let not_sent = |error: hyper::Error| Failure::NotSent(self.unreachable(error));
        connection.sender.ready().await.map_err(not_sent)?;
        let request = ask.request().map_err(|error| Failure::NotSent(self.unreachable(error)))?;
        match connection.sender.try_send_request(self.signed(request)).await {
            Ok(response) => Ok(self.reply(response, connection)),
            Err(mut failure) => {
                let is_unsent = failure.take_message().is_some() && !ask.is_stream();
                let error = self.unreachable(failure.into_error());
                Err(if is_unsent { Failure::NotSent(error) } else { Failure::Broken(error) })
            }
        }
    }

    fn reply(&self, response: Response<Incoming>, connection: Connection) -> Reply {
        let connection = Some(connection);
        Reply { response, connection, idle: self.idle.clone(), at: self.endpoint.to_string() }
    }

    /// Adds what every request has.
    fn signed(&self, mut request: Request<RequestBody>) -> Request<RequestBody> {
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::try_from(self.endpoint.host()) {
            headers.insert(HOST, host);
        }
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("kubectl-lodge/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let connecting = async {
            let stream = self.endpoint.connect().await?;
            let tls = self.tls.connect(self.name.clone(), stream).await;
            let tls = tls.map_err(|error| self.unreachable(error))?;
            http1::handshake(TokioIo::new(tls)).await.map_err(|error| self.unreachable(error))
        };
        let (sender, connection) =
            tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| {
                let why = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
                Error::Unreachable { at: self.endpoint.to_string(), why }
            })??;
        let driver = task::spawn(async move {
            // How it ends shows in the exchange.
            let _: hyper::Result<()> = connection.with_upgrades().await;
        });
        Ok(Connection { sender, _driver: driver })
    }

    /// Reads why the gateway refuses.
    async fn refusal(&self, reply: Reply) -> Result<Refusal, Error> {
        let status = reply.status();
        let is_problem =
            reply.header(&CONTENT_TYPE).is_some_and(|kind| kind.starts_with(problem::MEDIA_TYPE));
        let after = reply.header(&RETRY_AFTER).map(|text| text.parse().ok().map(Duration::from_secs));
        let body = reply.bytes_up_to(PROBLEM_BYTES).await?;
        let foreign = || Error::Foreign { at: self.endpoint.to_string(), status: status.as_u16() };
        let problem: Problem = serde_json::from_slice(&body).map_err(|_| foreign())?;
        if !is_problem {
            return Err(foreign());
        }
        // The gateway says so only of requests that were not carried out. A VM that does not boot does not come with
        // time: whoever waits needs to know why.
        let is_passing = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        Ok(match after {
            Some(after) if is_passing && !problem.is(ProblemCode::BootFailed) => {
                Refusal::NotYet(problem, after)
            }
            Some(_) | None => Refusal::Final(Error::Problem(Box::new(problem))),
        })
    }

    fn unreachable(&self, error: impl std::error::Error + 'static) -> Error {
        Error::Unreachable { at: self.endpoint.to_string(), why: causes(&error) }
    }
}

async fn config_map(client: &Client, lodge: &str) -> Result<ConfigMap, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), lodge);
    match api.get_opt(CONFIG_MAP).await {
        Ok(Some(map)) => Ok(map),
        Ok(None) => Err(Error::NotInstalled(lodge.to_owned())),
        Err(error) => Err(api_error(
            error,
            &format!("read ConfigMap {lodge}/{CONFIG_MAP}; or give --gateway and --gateway-ca"),
        )),
    }
}
