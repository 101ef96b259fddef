//! Runners whose pods get another form, as with each new version: one after the other, and nothing is lost.

use crate::alone;
use anyhow::{Context, Result, ensure};
use e2e::{
    chart_value::ChartValue,
    cluster::Cluster,
    gateway::{Door, Identity},
    namespace::{Namespace, eventually},
    stream::EventStream,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashSet},
    io::{BufRead, BufReader},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread::JoinHandle,
    time::Duration,
};
use vm_api::{VmEvent, route::Workspace};

/// What is seen of a namespace's runners while they are replaced.
#[derive(Debug, Default)]
struct Watched {
    /// UIDs of the pods that there were, by name.
    pods: BTreeMap<String, HashSet<String>>,
    /// Names of those that were not ready at the same time as another one.
    away_together: Vec<HashSet<String>>,
}

/// The names and UIDs of the pods that are ready, and are not about to go.
fn ready_pods(cluster: &Cluster, namespace: &str) -> Result<BTreeMap<String, String>> {
    let listed = cluster.kubectl(&["get", "pods", "-n", namespace, "-o", "json"])?.success()?;
    let listed: Value = serde_json::from_str(&listed)?;
    let is_ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.filter(|condition| condition["type"] == "Ready");
        pod["metadata"]["deletionTimestamp"].is_null()
            && ready.into_iter().any(|ready| ready["status"] == "True")
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = listed["items"].as_array().into_iter().flatten().filter(is_ready);
    Ok(pods.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]))).collect())
}

/// Looks at the pods again and again until told to stop.
fn watch_pods(cluster: &Cluster, namespace: &str, names: &[&str], stop: &AtomicBool) -> Result<Watched> {
    let mut watched = Watched::default();
    loop {
        // Once more after the order to stop, so that what that was about is seen too.
        let is_last = stop.load(Ordering::Acquire);
        let ready = ready_pods(cluster, namespace)?;
        let away: HashSet<_> =
            names.iter().filter(|name| !ready.contains_key(**name)).map(|name| (*name).to_owned()).collect();
        if away.len() > 1 {
            watched.away_together.push(away);
        }
        for (name, uid) in ready {
            watched.pods.entry(name).or_default().insert(uid);
        }
        if is_last {
            return Ok(watched);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Counts in a workspace, in a file and to whoever listens; returns the last number that was heard.
fn count_in(cluster: &Cluster, namespace: &Namespace, workspace: &str) -> Result<JoinHandle<Result<u64>>> {
    let script = "i=0; while :; do i=$((i+1)); echo $i >> ~/numbers; echo $i; sleep 0.02; done";
    let mut exec = cluster.lodge_command(&["exec", workspace, "-n", &namespace.name, "-c", script]);
    let mut process = exec.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let output = process.stdout.take().context("an output")?;
    Ok(std::thread::spawn(move || {
        let mut last = 0;
        for line in BufReader::new(output).lines() {
            last = line?.parse()?;
        }
        process.wait()?;
        Ok(last)
    }))
}

/// How often a workspace's VM has ended in order, and booted, as its events tell.
async fn boots(door: &Door, namespace: &str, workspace: &str) -> Result<(usize, usize)> {
    let route = Workspace::at_gateway(namespace, workspace);
    let mut stream = EventStream::open(door, &Identity::Administrator, &route, 0).await?;
    let (mut shutdowns, mut boots) = (0, 0);
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), stream.next()).await {
        match event?.context("the stream of events has ended")?.1.event {
            VmEvent::VmShutdown { .. } => shutdowns += 1,
            VmEvent::VmBooted { .. } => boots += 1,
            _ => {}
        }
    }
    Ok((shutdowns, boots))
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn an_upgrade_replaces_runners_one_by_one_and_puts_their_workspaces_to_sleep_first() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::find()?;
    let _one_each = ChartValue::set(&cluster, "runner.maxWorkspaces=1")?;
    let namespace = Namespace::create(&cluster, "upgrade")?;
    let space = namespace.name.as_str();
    let workspaces = ["ada", "bob"];
    for name in workspaces {
        namespace.ready_workspace(name, "  env: [{name: A, value: b}]")?;
    }
    let runners = ["lodge-runner-0", "lodge-runner-1"];
    let before = ready_pods(&cluster, space)?;
    assert_eq!(before.keys().collect::<Vec<_>>(), runners);
    let counts = workspaces.map(|name| count_in(&cluster, &namespace, name));
    let is_replaced = || {
        let now = ready_pods(&cluster, space)?;
        Ok(runners.iter().all(|name| now.get(*name).is_some_and(|uid| before.get(*name) != Some(uid))))
    };
    let stop = AtomicBool::new(false);
    let (upgraded, watched) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch_pods(&cluster, space, &runners, &stop));
        let upgraded = ChartValue::set(&cluster, "runner.spares=2").and_then(|value| {
            eventually(Duration::from_secs(120), is_replaced).context("both pods are new ones")?;
            Ok(value)
        });
        stop.store(true, Ordering::Release);
        (upgraded, watching.join())
    });
    let _upgraded = upgraded?;
    let watched = watched.map_err(|_| anyhow::anyhow!("the watch panicked"))??;
    assert!(watched.away_together.is_empty(), "one after the other: {watched:?}");
    assert!(watched.pods.values().all(|uids| uids.len() == 2), "each was replaced once: {watched:?}");
    let door = Door::find(&cluster)?;
    let runtime = tokio::runtime::Runtime::new()?;
    for (name, count) in workspaces.iter().zip(counts) {
        namespace.wait_ready(name)?;
        let heard = count?.join().map_err(|_| anyhow::anyhow!("a listener panicked"))??;
        // What the VM had not on the disk when its runner was stopped is there only if it was put to sleep in order.
        let kept: u64 = namespace.exec(name, &["tail", "-n", "1", "numbers"])?.success()?.trim().parse()?;
        ensure!(heard > 0 && kept >= heard, "{name} had told {heard}, and its file ends with {kept}");
        let lines = namespace.exec(name, &["wc", "-l", "numbers"])?.success()?;
        assert!(lines.trim().starts_with(&kept.to_string()), "{name} has {lines} for {kept}");
        assert_eq!(namespace.exec(name, &["printenv", "A"])?.success()?, "b\n");
        assert_eq!(
            runtime.block_on(boots(&door, space, name))?,
            (1, 2),
            "one end and one more boot of {name}"
        );
        println!("{name}: {heard} numbers heard, {kept} kept");
    }
    Ok(())
}
