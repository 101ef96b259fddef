//! A shell in a workspace, used from a terminal: typed into, resized, left and found again.

use anyhow::{Context, Result};
use e2e::{
    cluster::Cluster,
    namespace::{Namespace, eventually},
    terminal::Terminal,
};
use serde_json::Value;
use std::time::Duration;

/// Leaves a shell without ending it: ctrl-p ctrl-q.
const DETACH: &str = "\x10\x11";

fn shell(cluster: &Cluster, namespace: &Namespace, args: &str) -> Result<Terminal> {
    let plugin = cluster.bin.join("kubectl-lodge");
    let line = format!("{} {args} -n {}", plugin.display(), namespace.name);
    Terminal::start(&line, 100, 30, &cluster.kubeconfig)
}

/// The only shell there is, as `kubectl lodge shell --list` has it.
fn only_shell(namespace: &Namespace) -> Result<Value> {
    let list = namespace.lodge(&["shell", "ada", "--list", "-o", "json"])?.success()?;
    let list: Value = serde_json::from_str(&list)?;
    let items = list["items"].as_array().context("a list")?;
    anyhow::ensure!(items.len() == 1, "not one shell: {list}");
    Ok(items[0].clone())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_shell_is_typed_into_resized_left_and_found_again() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "shell")?;
    namespace.ready_workspace("ada", "")?;
    let mut first = shell(&cluster, &namespace, "shell ada")?;
    first.type_keys("KEPT=kept; echo A$((1+1))B\n")?;
    first.wait_for("A2B")?;
    let before = only_shell(&namespace)?;
    assert_eq!(
        (&before["cols"], &before["rows"]),
        (&100.into(), &30.into()),
        "the size of the terminal: {before}"
    );
    first.resize(132, 43)?;
    eventually(Duration::from_secs(10), || Ok(only_shell(&namespace)?["cols"] == 132))
        .context("a terminal that is resized resizes the shell")?;
    first.type_keys(DETACH)?;
    assert_eq!(first.wait()?, 0, "left, not ended: {}", first.shown());
    eventually(Duration::from_secs(10), || Ok(only_shell(&namespace)?["attached"] == 0))
        .context("nobody is attached any more")?;
    let id = before["id"].as_str().context("an id")?.to_owned();

    let mut second = shell(&cluster, &namespace, &format!("shell ada --attach {id}"))?;
    second.wait_for("A2B").context("what was shown before is shown again")?;
    second.type_keys("echo \"[$KEPT]\"\n")?;
    second.wait_for("[kept]").context("it is the same shell")?;
    let mut third = shell(&cluster, &namespace, &format!("shell ada --attach {id}"))?;
    third.wait_for("[kept]")?;
    third.type_keys("echo from-the-$((2+1))rd\n")?;
    second.wait_for("from-the-3rd").context("all who are attached see the same")?;
    second.type_keys("exit 7\n")?;
    assert_eq!(second.wait()?, 7, "{}", second.shown());
    assert_eq!(third.wait()?, 7, "{}", third.shown());
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_command_in_a_terminal_is_interrupted_by_its_keys() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "tty")?;
    namespace.ready_workspace("ada", "")?;
    let mut terminal = shell(&cluster, &namespace, "exec ada -it -c 'echo ready; sleep 60; echo never'")?;
    terminal.wait_for("ready")?;
    terminal.type_keys("\x03")?;
    let code = terminal.wait()?;
    assert_eq!(code, 130, "SIGINT ends it: {}", terminal.shown());
    assert!(!terminal.shown().contains("never"));
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn shells_are_started_unattended_listed_and_ended() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "detached")?;
    namespace.ready_workspace("ada", "")?;
    let started = namespace.lodge(&["shell", "ada", "--detach", "--", "sleep", "1000"])?.success()?;
    let id = only_shell(&namespace)?["id"].as_str().context("an id")?.to_owned();
    assert!(started.contains(&id), "prints the id: {started}");
    namespace.lodge(&["shell", "ada", "--end", &id])?.success()?;
    eventually(Duration::from_secs(10), || {
        let list = namespace.lodge(&["shell", "ada", "--list", "-o", "json"])?.success()?;
        let list: Value = serde_json::from_str(&list)?;
        let items = list["items"].as_array().context("a list")?;
        Ok(items.iter().all(|shell| !shell["exit"].is_null()))
    })
}
