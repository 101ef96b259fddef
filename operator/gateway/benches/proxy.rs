//! What the gateway can take: `cargo bench -p gateway --bench proxy [-- SECONDS CONNECTIONS]` (5 and 64).
//!
//! Everything is in one process on loopback: clients that each keep one connection and ask again as soon as they are
//! answered, the real gateway over TLS with its audit log (to `/dev/null`), and a runner that answers at once over mutual
//! TLS. All of them share the machine's cores, so that the requests in a second are a lower bound; beside them stand the
//! same clients without the gateway, and the processor time of the gateway's own threads, which says what a gateway with
//! the cores for itself could do.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a program for people, which may give up"
)]
#![allow(dead_code, reason = "the parts of tests that are used here bring others along")]

#[path = "../tests/gateway/support"]
mod support {
    pub(crate) mod api_server;
    pub(crate) mod pki;
    pub(crate) mod runner;
    pub(crate) mod world;
}

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::config::{Limits, Rate, Timeouts};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::pki::Authority;
use support::runner::{Runner, Script, answer};
use support::world::{Body, RUNNER_NAMES, World, pod, tls, whole, workspace};
use tokio::runtime::{Builder, Runtime};

/// Threads of the gateway, as the system names them.
const GATEWAY_THREADS: &str = "gateway";
/// Answers of this size, as a short command has.
const ANSWER_BYTES: usize = 128;
/// HTTP/2 connections that share the clients.
const HTTP2_CONNECTIONS: usize = 4;
/// Nobody is measured before this.
const WARM_UP: Duration = Duration::from_millis(500);

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build().unwrap()
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let length = Duration::from_secs(numbers.first().copied().unwrap_or(5));
    let clients = usize::try_from(numbers.get(1).copied().unwrap_or(64)).unwrap();
    let log = std::fs::File::options().write(true).open("/dev/null").unwrap();
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(log).init();

    let (inside, outside) = (runtime(GATEWAY_THREADS), runtime("others"));
    let lodge = Authority::new("lodge");
    let script: Script = Arc::new(|request: Request<hyper::body::Incoming>| {
        Box::pin(async move {
            let _ = request.into_body().collect().await;
            answer(StatusCode::OK, vec![b'x'; ANSWER_BYTES])
        })
    });
    let runner = outside.block_on(Runner::start(&lodge, &lodge.machine(&RUNNER_NAMES), script));
    let limits = Limits { user_rate: Rate { per_second: 0, burst: 0 }, ..Limits::default() };
    let world = inside.block_on(async {
        let world =
            World::around(lodge, runner.address.port(), Vec::new(), Timeouts::default(), limits, |api| {
                api.put("workspaces", workspace("ada", Some("lodge-runner-0")));
                api.put("pods", pod(Some("127.0.0.1")));
            });
        let world = world.await;
        world.admit_jane();
        world
    });
    println!(
        "{clients} clients, {} s each, on {} cores",
        length.as_secs(),
        std::thread::available_parallelism().unwrap()
    );
    let direct = Target {
        address: runner.address,
        name: "lodge-runner-0.lodge-runner.team-a.svc",
        protocol: "http/1.1",
    };
    let name = "lodge-gateway.lodge-system.svc";
    let targets = [
        ("no gateway", direct),
        ("GET files, HTTP/1.1", Target { address: world.address, name, protocol: "http/1.1" }),
        ("GET files, HTTP/2", Target { address: world.address, name, protocol: "h2" }),
    ];
    for (what, target) in targets {
        for clients in [1, clients] {
            let before = gateway_time();
            let times = outside.block_on(measure(&target, &world.lodge, clients, length));
            report(&format!("{what}, {clients} at once"), times, length, gateway_time() - before);
        }
    }
}

/// Who is asked, and how.
struct Target {
    address: SocketAddr,
    name: &'static str,
    protocol: &'static str,
}

fn ask() -> Request<Body> {
    Request::get("/v1/namespaces/team-a/workspaces/ada/files/home/agent/notes.txt")
        .header("host", "gateway")
        .header("authorization", "Bearer jane-token")
        .header("user-agent", "bench")
        .body(whole(""))
        .unwrap()
}

/// How long each request took after the warm-up.
async fn measure(target: &Target, lodge: &Authority, clients: usize, length: Duration) -> Vec<Duration> {
    let identity = lodge.machine(&["gateway.lodge.internal"]);
    let mut shared = Vec::new();
    if target.protocol == "h2" {
        for _ in 0..HTTP2_CONNECTIONS.min(clients) {
            let tls = tls(target.address, target.name, lodge, None, target.protocol).await;
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
            tokio::spawn(connection);
            shared.push(sender);
        }
    }
    let mut tasks = Vec::new();
    for number in 0..clients {
        if let Some(sender) = shared.get(number % HTTP2_CONNECTIONS.min(clients)).cloned() {
            tasks.push(tokio::spawn(go_on(length, move || {
                let mut request = ask();
                *request.uri_mut() = format!("https://gateway{}", request.uri()).parse().unwrap();
                request.headers_mut().remove("host");
                let mut sender = sender.clone();
                async move { sender.send_request(request).await.unwrap() }
            })));
            continue;
        }
        let tls = tls(target.address, target.name, lodge, Some(&identity), target.protocol).await;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection);
        let sender = Arc::new(tokio::sync::Mutex::new(sender));
        tasks.push(tokio::spawn(go_on(length, move || {
            let sender = sender.clone();
            async move {
                let mut sender = sender.lock().await;
                sender.ready().await.unwrap();
                sender.send_request(ask()).await.unwrap()
            }
        })));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times
}

/// One client: asks again as soon as it is answered.
async fn go_on<F>(length: Duration, mut ask: impl FnMut() -> F) -> Vec<Duration>
where
    F: Future<Output = http::Response<hyper::body::Incoming>>,
{
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < WARM_UP + length {
        let asked = Instant::now();
        let response = ask().await;
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), ANSWER_BYTES);
        if began.elapsed() > WARM_UP {
            times.push(asked.elapsed());
        }
    }
    times
}

/// Processor time of the gateway's threads so far.
fn gateway_time() -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let folder = task.unwrap().path();
        let name = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
        if name.trim() == GATEWAY_THREADS {
            let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            ticks += [11, 12].into_iter().filter_map(|at| fields.get(at)?.parse::<u64>().ok()).sum::<u64>();
        }
    }
    // USER_HZ is 100 wherever Lodge runs.
    Duration::from_millis(ticks * 10)
}

fn report(what: &str, mut times: Vec<Duration>, length: Duration, gateway: Duration) {
    times.sort_unstable();
    let count = times.len();
    let at = |part: f64| times[((count - 1) as f64 * part) as usize];
    let rate = count as f64 / length.as_secs_f64();
    // The gateway worked through the warm-up too.
    let all = rate * (WARM_UP + length).as_secs_f64();
    let each = gateway.as_secs_f64() * 1e6 / all;
    println!(
        "{what:36} n={count:7} {rate:7.0}/s  p50 {:7.0?} p95 {:7.0?} p99 {:7.0?}  gateway {each:5.1} µs each",
        at(0.5),
        at(0.95),
        at(0.99)
    );
}
