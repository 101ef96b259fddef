//! One request of a load, with its repetitions.

use super::{LoadPlan, Target};
use crate::gateway::Door;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::pki_types::ServerName;
use std::time::{Duration, Instant};
use vm_api::route::Workspace;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads a file.
    Read,
    /// Writes a file of its own.
    Write,
    /// Runs a command.
    Exec,
}

impl Kind {
    /// Half of the requests read, three in ten write, two in ten run a command.
    fn of(number: u64) -> Self {
        // 7 and 10 share no divisor: the kinds are spread over the targets, however many there are.
        match number.wrapping_mul(7) / 3 % 10 {
            0..5 => Self::Read,
            5..8 => Self::Write,
            _ => Self::Exec,
        }
    }
}

/// How a request ended, repetitions included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Done, and the answer was right.
    Done,
    /// The connection broke after a command was sent: it may have run.
    Uncertain(String),
    /// It failed in a way that no client may repeat, or repeating did not help in time.
    Failed(String),
}

/// A request that ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which request.
    pub number: u64,
    /// Which of the plan's targets was asked.
    pub target: usize,
    /// What it did.
    pub kind: Kind,
    /// When it was first sent.
    pub began: Instant,
    /// When its last answer was read.
    pub ended: Instant,
    /// When the last attempt that was repeated had failed.
    pub last_failure: Option<Instant>,
    /// Why that attempt had failed.
    pub last_reason: Option<String>,
    /// How it ended.
    pub end: End,
}

/// Sends requests. Several clients with a pool of connections each, so that every gateway has some.
#[derive(Debug)]
pub(super) struct Sender {
    clients: Vec<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
    base: String,
    authorization: String,
    targets: Vec<Target>,
    patience: Duration,
}

/// What became of one attempt.
enum Attempt {
    Done,
    Again { why: String, pause: Duration },
    Broken(String),
    Failed(String),
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Sender {
    pub(super) fn new(door: Door, plan: &LoadPlan) -> Result<Self> {
        let clients = (0..CLIENTS).map(|_| client(&door)).collect::<Result<_>>()?;
        Ok(Self {
            clients,
            base: format!("https://{}", door.address),
            authorization: format!("Bearer {}", plan.token),
            targets: plan.targets.clone(),
            patience: plan.patience,
        })
    }

    fn target_of(&self, number: u64) -> usize {
        usize::try_from(number % self.targets.len().max(1) as u64).unwrap_or_default()
    }

    fn client_of(&self, number: u64) -> &Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
        // The golden ratio's multiples spread over the clients whatever the targets' number.
        let turn = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        &self.clients[turn % self.clients.len()]
    }

    fn route(&self, target: usize) -> Workspace {
        let target = &self.targets[target];
        Workspace::at_gateway(&target.namespace, &target.workspace)
    }

    /// Writes the file that reads ask for.
    pub(super) async fn prepare(&self, target: usize) -> Result<()> {
        let path = self.route(target).file(SEED_PATH);
        let (status, body) = self.exchange(0, &Method::PUT, &path, SEED.into()).await?;
        ensure!(status.is_success(), "PUT {path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    /// Asks, again and again if need be.
    pub(super) async fn ask(&self, number: u64) -> Outcome {
        let (target, kind) = (self.target_of(number), Kind::of(number));
        let began = Instant::now();
        let (mut last_failure, mut last_reason) = (None, None);
        let mut least = FIRST_PAUSE;
        let end = loop {
            let (why, pause) = match self.attempt(number, target, kind).await {
                Attempt::Done => break End::Done,
                Attempt::Failed(why) => break End::Failed(why),
                Attempt::Broken(why) if kind == Kind::Exec => break End::Uncertain(why),
                Attempt::Broken(why) => (why, least),
                Attempt::Again { why, pause } => (why, pause.max(least)),
            };
            last_failure = Some(Instant::now());
            if began.elapsed() + pause > self.patience {
                break End::Failed(format!("not within {:?}: {why}", self.patience));
            }
            last_reason = Some(why);
            tokio::time::sleep(pause).await;
            least = (least * 2).min(LONGEST_PAUSE);
        };
        Outcome { number, target, kind, began, ended: Instant::now(), last_failure, last_reason, end }
    }

    async fn attempt(&self, number: u64, target: usize, kind: Kind) -> Attempt {
        let route = self.route(target);
        let (method, path, body) = match kind {
            Kind::Read => (Method::GET, route.file(SEED_PATH), String::new()),
            Kind::Write => (Method::PUT, route.file(&path_of(number)), content_of(number)),
            Kind::Exec => {
                let command = serde_json::json!({"command": format!("echo {number}")});
                (Method::POST, route.exec(), command.to_string())
            }
        };
        let request = self.request(&method, &path, body);
        let exchange = async {
            let response = self.client_of(number).request(request?).await?;
            let (head, body) = response.into_parts();
            anyhow::Ok((head.status, retry_after(&head.headers), body.collect().await?.to_bytes()))
        };
        let answer = tokio::time::timeout(self.patience, exchange).await;
        let (status, pause, body) = match answer {
            Err(_) => return Attempt::Broken("no answer".to_owned()),
            Ok(Err(error)) => return broken(&error),
            Ok(Ok(answer)) => answer,
        };
        judge(number, kind, status, pause, &body)
    }

    /// Reads back what a write wrote.
    pub(super) async fn verify(&self, number: u64) -> Result<()> {
        let path = self.route(self.target_of(number)).file(&path_of(number));
        let mut left = 20;
        loop {
            match self.exchange(number, &Method::GET, &path, String::new()).await {
                Ok((StatusCode::OK, body)) => {
                    ensure!(body == content_of(number).as_bytes(), "holds {} other bytes", body.len());
                    return Ok(());
                }
                Ok((StatusCode::NOT_FOUND, _)) => anyhow::bail!("the file is not there"),
                Ok((status, body)) if left == 0 => {
                    anyhow::bail!("{status} {}", String::from_utf8_lossy(&body))
                }
                Err(error) if left == 0 => return Err(error),
                _ => tokio::time::sleep(Duration::from_millis(250)).await,
            }
            left -= 1;
        }
    }

    fn request(&self, method: &Method, path: &str, body: String) -> Result<Request<Full<Bytes>>> {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .context("a request")
    }

    async fn exchange(
        &self,
        number: u64,
        method: &Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, Bytes)> {
        let response = self.client_of(number).request(self.request(method, path, body)?).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

fn client(door: &Door) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(2)));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config((*door.anonymous).clone())
        .https_only()
        .with_server_name_resolver(FixedServerNameResolver::new(ServerName::try_from(door.name.clone())?))
        .enable_http1()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .pool_timer(TokioTimer::new())
        .build(connector))
}

const CLIENTS: usize = 8;
const SEED: &str = "what reads read";
const SEED_PATH: &str = "/home/agent/load-seed";

fn path_of(number: u64) -> String {
    format!("/home/agent/load-{number}")
}

/// A content that no other write has, 100 to 1100 bytes.
fn content_of(number: u64) -> String {
    let length = 100 + usize::try_from(number * 37 % 1000).unwrap_or_default();
    format!("{number}:").chars().cycle().take(length).collect()
}

/// No connection: certainly not sent. A connection that ended: perhaps carried out.
fn broken(error: &anyhow::Error) -> Attempt {
    let why = format!("{error:#}");
    let is_unsent = error
        .downcast_ref::<hyper_util::client::legacy::Error>()
        .is_some_and(hyper_util::client::legacy::Error::is_connect);
    if is_unsent { Attempt::Again { why, pause: FIRST_PAUSE } } else { Attempt::Broken(why) }
}

fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn judge(number: u64, kind: Kind, status: StatusCode, pause: Option<Duration>, body: &[u8]) -> Attempt {
    let text = String::from_utf8_lossy(body);
    let why = || format!("{} {}", status.as_u16(), text.chars().take(300).collect::<String>());
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Attempt::Again { why: why(), pause: pause.unwrap_or(FIRST_PAUSE) }
        }
        StatusCode::BAD_GATEWAY => Attempt::Broken(why()),
        status if !status.is_success() => Attempt::Failed(why()),
        _ => {
            let is_right = match kind {
                Kind::Read => body == SEED.as_bytes(),
                Kind::Write => true,
                Kind::Exec => text.contains(&format!("\"stdout\":\"{number}\\n\"")),
            };
            if is_right { Attempt::Done } else { judge_exec(kind, &text) }
        }
    }
}

/// A command whose VM was killed under it is answered with its signal: it has run, and how far nobody knows.
fn judge_exec(kind: Kind, text: &str) -> Attempt {
    let why = format!("a wrong answer: {}", text.chars().take(300).collect::<String>());
    let was_killed = kind == Kind::Exec && text.contains("\"SIGKILL\"");
    if was_killed { Attempt::Broken(why) } else { Attempt::Failed(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_reads_most_and_runs_least() {
        let count = |kind| (0..3000).filter(|number| Kind::of(*number) == kind).count();
        let counts = [Kind::Read, Kind::Write, Kind::Exec].map(count);
        for (count, share) in counts.into_iter().zip([1500, 900, 600]) {
            assert!(count.abs_diff(share) < 30, "{counts:?}");
        }
    }

    #[test]
    fn only_a_refusal_that_says_so_is_repeated() {
        let judged = |status: u16| judge(1, Kind::Exec, StatusCode::from_u16(status).unwrap(), None, b"");
        assert!(matches!(judged(503), Attempt::Again { .. }));
        assert!(matches!(judged(502), Attempt::Broken(_)));
        assert!(matches!(judged(500), Attempt::Failed(_)));
        assert!(matches!(judged(403), Attempt::Failed(_)));
        assert!(matches!(judged(200), Attempt::Failed(_)), "an empty answer to a command is wrong");
    }

    #[test]
    fn no_two_writes_have_one_content() {
        let contents: std::collections::HashSet<_> = (0..5000).map(content_of).collect();
        assert_eq!(contents.len(), 5000);
    }
}
