//! How many requests a second pass the gateway, and how long they take then; an nginx that does nothing but proxy to the same
//! runner stands beside it for scale. As many clients as connections, each sending its next request when the answer is read.

use super::{Report, nginx::Nginx};
use crate::{
    cluster::Cluster,
    gateway::{Door, Identity},
    namespace::Namespace,
    percentile::Samples,
    user::User,
};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinSet};
use vm_api::route::Workspace;

const CONNECTIONS: usize = 64;
/// The gateway lets one user ask so often and no more.
const USERS: usize = 32;
const FILE: &str = "/home/agent/kilobyte";

/// Where requests go.
struct Target {
    address: String,
    name: String,
    tls: Arc<rustls::ClientConfig>,
    path: String,
    tokens: Vec<String>,
}

pub(super) async fn run(cluster: &Cluster, time: Duration, report: &mut Report<'_>) -> Result<()> {
    let namespace = Namespace::create(cluster, "proxy")?;
    namespace.ready_workspace("ada", "  idle: {sleepAfter: 1h}")?;
    let door = Door::find(cluster)?;
    let route = Workspace::at_gateway(&namespace.name, "ada");
    let mut administrator = door.client(&Identity::Administrator).await?;
    let put = administrator.send("PUT", &route.file(FILE), vec![b'k'; 1024]).await?;
    ensure!(put.status.is_success(), "{}", put.text());
    let tokens = (0..USERS)
        .map(|user| Ok(User::create(cluster, &namespace, &format!("user-{user}"), Some("edit"))?.token))
        .collect::<Result<Vec<_>>>()?;
    let gateway = Target {
        address: format!("{}:443", door.address),
        name: door.name.clone(),
        tls: door.anonymous.clone(),
        path: route.file(FILE),
        tokens,
    };
    measure(&gateway, "gateway: GET of 1 KiB", time, report).await?;
    let Some(nginx) = Nginx::start(cluster, &runner_address(cluster, &namespace)?, &runner_name(&namespace))?
    else {
        return report.note("no nginx beside it: e2e/bench installs one");
    };
    let uid = cluster.field(&namespace.name, "workspace/ada", ".metadata.uid")?;
    let beside = Target {
        address: nginx.address.clone(),
        name: door.name,
        tls: door.anonymous,
        path: Workspace::at_runner(&uid).file(FILE),
        tokens: Vec::new(),
    };
    measure(&beside, "nginx in its place: GET of 1 KiB", time, report).await?;
    // Once more, so that a machine that got slower or faster is seen.
    measure(&gateway, "gateway again", time, report).await
}

fn runner_address(cluster: &Cluster, namespace: &Namespace) -> Result<String> {
    Ok(format!("{}:7443", cluster.field(&namespace.name, "pod/lodge-runner-0", ".status.podIP")?))
}

fn runner_name(namespace: &Namespace) -> String {
    format!("lodge-runner-0.lodge-runner.{}.svc", namespace.name)
}

async fn measure(target: &Target, what: &str, time: Duration, report: &mut Report<'_>) -> Result<()> {
    hammer(target, time / 5).await.with_context(|| format!("warming up: {what}"))?;
    let samples = hammer(target, time).await.context(what.to_owned())?;
    report.row(&format!("{what}, {CONNECTIONS} connections"), &samples)?;
    report.note(format!("{:.0} requests/s", samples.n() as f64 / time.as_secs_f64()))
}

/// Asks on every connection for as long as that.
async fn hammer(target: &Target, time: Duration) -> Result<Samples> {
    let mut connections = JoinSet::new();
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        senders.push(connect(target).await?);
    }
    let until = Instant::now() + time;
    for (number, sender) in senders.into_iter().enumerate() {
        let token = target.tokens.get(number % target.tokens.len().max(1)).cloned();
        let (path, host) = (target.path.clone(), target.name.clone());
        connections.spawn(async move { ask_until(sender, &path, &host, token.as_deref(), until).await });
    }
    let mut all = Samples::default();
    while let Some(samples) = connections.join_next().await {
        all.extend(&samples??);
    }
    Ok(all)
}

async fn connect(target: &Target) -> Result<SendRequest<Empty<Bytes>>> {
    let tcp = TcpStream::connect(&target.address).await.with_context(|| target.address.clone())?;
    tcp.set_nodelay(true)?;
    let connector = tokio_rustls::TlsConnector::from(target.tls.clone());
    let stream = connector.connect(ServerName::try_from(target.name.clone())?, tcp).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn ask_until(
    mut sender: SendRequest<Empty<Bytes>>,
    path: &str,
    host: &str,
    token: Option<&str>,
    until: Instant,
) -> Result<Samples> {
    let mut samples = Samples::default();
    while Instant::now() < until {
        let mut request = Request::builder().uri(path).header("host", host);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        sender.ready().await?;
        let start = Instant::now();
        let response = sender.send_request(request.body(Empty::new())?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == 200 && body.len() == 1024, "{status}: {}", String::from_utf8_lossy(&body));
        samples.add(start.elapsed());
    }
    Ok(samples)
}
