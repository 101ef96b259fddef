//! Gateways that are replaced under streams: the streams end in order, and go on where they were through another one.

use crate::beside;
use anyhow::{Context, Result, bail, ensure};
use e2e::{
    cluster::{Cluster, SYSTEM_NAMESPACE},
    gateway::{Door, Identity},
    namespace::Namespace,
    stream::{EventStream, ShellSocket, Shown},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use vm_api::{LoggedEvent, VmEvent, route::Workspace};

/// A WebSocket's close code for: the service is restarting, come again.
const SERVICE_RESTART: u16 = 1012;
/// How long somebody who lost a stream tries to take it up again.
const PATIENCE: Duration = Duration::from_secs(20);

/// Events that are kept one by one. Of notices that there is output only the last is.
fn is_kept(event: &VmEvent) -> bool {
    !matches!(event, VmEvent::ProcessOutput { .. } | VmEvent::ShellData { .. })
}

/// Tries again until it works.
async fn persist<T>(mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if start.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Reads events until the shell has ended, and takes the stream up where it was each time that it ends. Returns the events
/// that are kept, and how often the stream ended.
async fn follow_events(door: &Door, route: &Workspace) -> Result<(Vec<(u64, LoggedEvent)>, usize)> {
    let (mut events, mut after, mut ends) = (Vec::new(), 0, 0);
    loop {
        let mut stream =
            persist(async || EventStream::open(door, &Identity::Administrator, route, after).await).await?;
        while let Some((number, event)) = stream.next().await? {
            ensure!(number > after, "event {number} came after {after}");
            after = number;
            let is_last = matches!(event.event, VmEvent::ShellExit { .. });
            if is_kept(&event.event) {
                events.push((number, event));
            }
            if is_last {
                return Ok((events, ends));
            }
        }
        ends += 1;
    }
}

/// Reads what a shell shows until it has ended, and attaches again each time that the WebSocket is closed.
async fn follow_shell(door: &Door, route: &Workspace, id: &str) -> Result<(Vec<u8>, Vec<Option<u16>>)> {
    let (mut shown, mut codes, mut after) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut socket =
            persist(async || ShellSocket::attach(door, &Identity::Administrator, route, id, after).await)
                .await?;
        loop {
            match socket.next().await? {
                Shown::Bytes(bytes) => shown.extend(bytes),
                Shown::Exited(exit) if exit.exit_code == Some(0) => return Ok((shown, codes)),
                Shown::Exited(exit) => bail!("the shell ended: {exit:?}"),
                Shown::Closed(code) => break codes.push(code),
            }
        }
        after = socket.position();
    }
}

/// Starts processes, so that there are events, until told to stop. Returns how many.
async fn make_events(door: &Door, route: &Workspace, stop: &AtomicBool) -> Result<usize> {
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        let mut client = persist(async || door.client(&Identity::Administrator).await).await?;
        let started = client.send("POST", &route.processes(), r#"{"command":"true"}"#).await?;
        ensure!(started.status.is_success(), "{} {}", started.status, started.text());
        count += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(count)
}

/// `kubectl lodge events -f`, which takes its stream up again by itself.
struct Plugin {
    process: Child,
    numbers: JoinHandle<Result<Vec<u64>>>,
}

impl Plugin {
    fn follow(cluster: &Cluster, namespace: &Namespace, door: &Door) -> Result<Self> {
        let gateway = format!("https://{}", door.address);
        let args = ["events", "ada", "-f", "-o", "json", "-n", &namespace.name, "--gateway", &gateway];
        let mut command = cluster.lodge_command(&args);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().context("an output")?;
        let numbers = std::thread::spawn(move || {
            let mut numbers = Vec::new();
            for line in BufReader::new(output).lines() {
                let line: Value = serde_json::from_str(&line?)?;
                let event: LoggedEvent = serde_json::from_value(line.clone())?;
                if is_kept(&event.event) {
                    numbers.push(line["number"].as_u64().context("a number")?);
                }
                if matches!(event.event, VmEvent::ShellExit { .. }) {
                    return Ok(numbers);
                }
            }
            bail!("kubectl lodge events -f has ended by itself");
        });
        Ok(Self { process, numbers })
    }

    /// The numbers of the events that it printed.
    fn finish(mut self) -> Result<Vec<u64>> {
        let deadline = Instant::now() + PATIENCE;
        while !self.numbers.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        // Ends its output, and with it the thread that reads it.
        self.process.kill()?;
        self.process.wait()?;
        self.numbers.join().map_err(|_| anyhow::anyhow!("the reader of its output panicked"))?
    }
}

/// Starts a shell that counts until there is a file `stop`.
async fn start_counting(door: &Door, route: &Workspace) -> Result<String> {
    let count = "i=0; until [ -e ~/stop ]; do i=$((i+1)); echo line $i; sleep 0.05; done";
    let mut client = door.client(&Identity::Administrator).await?;
    let started = client.send("POST", &route.shells(), json!({ "command": count }).to_string()).await?;
    Ok(started.json()?["id"].as_str().with_context(|| started.text())?.to_owned())
}

/// Deletes each gateway, the next one when all are there again.
fn replace_gateways(cluster: &Cluster) -> Result<()> {
    let selector = "app.kubernetes.io/name=lodge-gateway";
    let get = ["get", "pods", "-n", SYSTEM_NAMESPACE, "-l", selector, "-o", "name"];
    let pods = cluster.kubectl(&get)?.success()?;
    for pod in pods.split_whitespace() {
        cluster.kubectl(&["delete", pod, "-n", SYSTEM_NAMESPACE, "--timeout=60s"])?.success()?;
        let status =
            ["rollout", "status", "deployment/lodge-gateway", "-n", SYSTEM_NAMESPACE, "--timeout=60s"];
        cluster.kubectl(&status)?.success()?;
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn streams_go_on_without_a_gap_or_a_double_while_each_gateway_is_replaced() -> Result<()> {
    let _beside = beside();
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "newdoor")?;
    namespace.ready_workspace("ada", "")?;
    let door = Door::find(&cluster)?;
    let route = Workspace::at_gateway(&namespace.name, "ada");
    let runtime = tokio::runtime::Runtime::new()?;
    let shell = runtime.block_on(start_counting(&door, &route))?;
    let plugin = Plugin::follow(&cluster, &namespace, &door)?;
    let stop = Arc::new(AtomicBool::new(false));
    let replacing = runtime.spawn_blocking({
        let (cluster, stop) = (cluster.clone(), stop.clone());
        move || {
            let replaced = replace_gateways(&cluster);
            stop.store(true, Ordering::Release);
            replaced
        }
    });
    let requests = async {
        let made = make_events(&door, &route, &stop).await?;
        let mut client = door.client(&Identity::Administrator).await?;
        let stopped = client.exec(&namespace.name, "ada", "touch ~/stop").await?;
        ensure!(stopped.status.is_success(), "{}", stopped.text());
        anyhow::Ok(made)
    };
    let (made, screen, events) = runtime.block_on(async {
        tokio::join!(requests, follow_shell(&door, &route, &shell), follow_events(&door, &route))
    });
    runtime.block_on(replacing)??;
    let made = made.context("requests beside the streams")?;
    let (shown, codes) = screen.context("the shell")?;
    let (seen, ends) = events.context("the events")?;
    let printed = plugin.finish()?;

    assert!(!codes.is_empty() && codes.iter().all(|code| *code == Some(SERVICE_RESTART)), "{codes:?}");
    let shown = String::from_utf8(shown)?;
    for (index, line) in shown.lines().enumerate() {
        assert_eq!(line, format!("line {}", index + 1), "each line once, in order");
    }
    assert!(ends >= 1, "the stream of events ended with its gateway");
    let log = runtime.block_on(follow_events(&door, &route))?.0;
    let began = log.iter().filter(|(_, event)| matches!(event.event, VmEvent::ProcessStarted { .. })).count();
    assert!(began >= made, "{made} processes were started, the log has {began}");
    assert_eq!(seen, log, "each event once, in order");
    let numbers: Vec<_> = log.iter().map(|(number, _)| *number).collect();
    assert_eq!(printed, numbers, "kubectl lodge prints each event once, in order");
    println!(
        "{} lines, {} events; ended {}x (shell), {ends}x (events)",
        shown.lines().count(),
        log.len(),
        codes.len()
    );
    Ok(())
}
