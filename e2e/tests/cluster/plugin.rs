//! Every subcommand of `kubectl lodge`, as a user types it.

use anyhow::{Context, Result};
use e2e::{
    cluster::Cluster,
    command::run_with_input,
    namespace::{Namespace, eventually},
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

/// Every subcommand, with where it is tested.
const SUBCOMMANDS: &[(&str, &str)] = &[
    ("exec", "here, terminal.rs"),
    ("shell", "terminal.rs"),
    ("cp", "here, copy.rs"),
    ("ls", "here"),
    ("cat", "here"),
    ("edit", "here"),
    ("ps", "here"),
    ("kill", "here"),
    ("top", "here"),
    ("events", "here"),
    ("wake", "here"),
    ("sleep", "here"),
    ("status", "here"),
    ("cron", "cron_job.rs"),
    ("completion", "here"),
    ("version", "here"),
];

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn every_subcommand_has_its_test() -> Result<()> {
    let help = Cluster::find()?.lodge(&["--help"])?.success()?;
    let commands = help.split("Commands:").nth(1).context("a list of commands")?;
    let commands = commands.split("\n\n").next().unwrap_or_default();
    let listed: Vec<_> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let tested: Vec<_> = SUBCOMMANDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, tested, "a new subcommand needs a test, and a place in this list");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn exec_streams_takes_input_and_passes_exit_codes_and_signals_on() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "exec")?;
    namespace.ready_workspace("ada", "")?;
    let env = ["exec", "ada", "-e", "A=b c", "-w", "/tmp", "-c", "pwd; echo \"$A\"; echo oops >&2; exit 7"];
    let done = namespace.lodge(&env)?;
    assert_eq!((done.stdout.as_str(), done.stderr.as_str(), done.code), ("/tmp\nb c\n", "oops\n", 7));
    let late = namespace.lodge(&["exec", "ada", "--timeout", "1s", "--", "sleep", "30"])?;
    assert_eq!(late.code, 124, "{late:?}");
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let mut input = cluster.lodge_command(&["exec", "ada", "-i", "-n", &namespace.name, "--", "sha256sum"]);
    let sum = run_with_input(&mut input, &bytes)?.success()?;
    assert!(sum.starts_with(&e2e::checksum::of_bytes(&bytes)), "standard input arrives whole: {sum}");

    let script = "echo ready; sleep 100; echo never";
    let mut command = cluster.lodge_command(&["exec", "ada", "-n", &namespace.name, "-c", script]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("an output")?).lines();
    let began = Instant::now();
    assert_eq!(lines.next().context("a line")??, "ready", "output is there before the command ends");
    assert!(began.elapsed() < Duration::from_secs(10));
    e2e::command::run(&mut e2e::command::command("kill", ["-TERM", &child.id().to_string()]))?.success()?;
    assert!(lines.next().is_none(), "the signal is passed on, and ends the command");
    assert_eq!(child.wait()?.code(), Some(143));
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn files_are_listed_printed_edited_and_copied() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "files")?;
    namespace.ready_workspace("ada", "")?;
    let here = tempfile::tempdir()?;
    let tree = here.path().join("project");
    std::fs::create_dir_all(tree.join("src/deep"))?;
    std::fs::write(tree.join("src/a b.txt"), "one\n")?;
    std::fs::write(tree.join("src/deep/bytes"), (0..=255).collect::<Vec<u8>>())?;
    std::os::unix::fs::symlink("src/a b.txt", tree.join("link"))?;
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    namespace.lodge(&["cp", &path(&tree), "ada:"])?.success().context("cp of a folder, in")?;
    let names = namespace.lodge(&["ls", "ada:project", "-R", "-o", "name"])?.success()?;
    assert!(names.contains("deep/bytes") && names.contains("a b.txt"), "{names}");
    let json: Value =
        serde_json::from_str(&namespace.lodge(&["ls", "ada:project", "-o", "json"])?.success()?)?;
    assert_eq!(json["entries"].as_array().map(Vec::len), Some(2), "{json}");
    assert_eq!(namespace.lodge(&["cat", "ada:project/src/a b.txt"])?.success()?, "one\n");
    let mut edit = cluster.lodge_command(&["edit", "ada:project/src/a b.txt", "-n", &namespace.name]);
    e2e::command::run(
        edit.env("EDITOR", "sed -i s/one/two/").env_remove("VISUAL").env_remove("KUBE_EDITOR"),
    )?
    .success()?;
    assert_eq!(namespace.exec("ada", &["cat", "project/link"])?.success()?, "two\n");
    let back = here.path().join("back");
    namespace.lodge(&["cp", "ada:project", &path(&back)])?.success().context("cp of a folder, out")?;
    assert_eq!(std::fs::read_to_string(back.join("src/a b.txt"))?, "two\n");
    assert_eq!(std::fs::read(back.join("src/deep/bytes"))?, (0..=255).collect::<Vec<u8>>());
    assert_eq!(std::fs::read_link(back.join("link"))?.to_str(), Some("src/a b.txt"));
    let missing = namespace.lodge(&["cat", "ada:nothing"])?;
    assert_ne!(missing.code, 0);
    assert!(missing.stderr.contains("/home/agent/nothing"), "{}", missing.stderr);
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn processes_are_listed_measured_and_killed() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "processes")?;
    namespace.ready_workspace("ada", "")?;
    namespace.exec("ada", &["sh", "-c", "sleep 1000 & true"])?.success()?;
    let table = namespace.lodge(&["ps", "ada", "--all"])?.success()?;
    let runs = |line: &&str| line.contains("sleep 1000") && line.contains("running");
    let row = table.lines().find(runs).with_context(|| table.clone())?;
    let pid = row.split_whitespace().next().context("a number")?;
    let top = namespace.lodge(&["top", "ada"])?.success()?;
    assert!(top.contains("sleep"), "{top}");
    assert!(namespace.lodge(&["top"])?.success()?.contains("ada"));
    namespace.lodge(&["kill", "ada", "-s", "KILL", pid])?.success()?;
    eventually(Duration::from_secs(10), || {
        let table = namespace.lodge(&["ps", "ada", "--all"])?.success()?;
        Ok(!table.lines().any(|line| runs(&line)))
    })
    .context("a killed process is gone")?;
    assert_ne!(namespace.lodge(&["kill", "ada", "99999"])?.code, 0);
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn power_is_changed_explained_and_told_of() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "explain")?;
    namespace.ready_workspace("ada", "")?;
    let woken = namespace.lodge(&["wake", "ada"])?.success()?;
    assert!(woken.contains("awake"), "{woken}");
    namespace.exec("ada", &["sh", "-c", "sleep 1000 & true"])?.success()?;
    eventually(Duration::from_secs(60), || {
        let status = namespace.lodge(&["status", "ada"])?.success()?;
        Ok(status.contains("sleep 1000") || status.contains("sleep"))
    })
    .context("status says what keeps it awake")?;
    namespace.lodge(&["sleep", "ada"])?.success()?;
    let events = namespace.lodge(&["events", "ada", "-o", "json"])?.success()?;
    for kind in ["vmBooted", "vmShutdown"] {
        assert!(events.contains(kind), "{kind} is missing, and nobody was woken by asking: {events}");
    }
    eventually(Duration::from_secs(60), || {
        Ok(cluster.field(&namespace.name, "workspace/ada", ".status.power")? == "Asleep")
    })?;
    assert_eq!(namespace.lodge(&["status", "ada"])?.code, 0, "asleep is ready");
    namespace.apply_workspace("bob", "  software: [{name: emacs}]")?.success()?;
    namespace.condition("bob", "Ready", "False")?;
    let bob = namespace.lodge(&["status", "bob"])?;
    assert_eq!(bob.code, 1, "not ready: {}", bob.stdout);
    assert!(bob.stdout.contains("emacs"), "says why it is not ready: {}", bob.stdout);
    let as_json = namespace.lodge(&["status", "ada", "-o", "json"])?.success()?;
    assert_eq!(serde_json::from_str::<Value>(&as_json)?["ready"], true);
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn events_are_followed_as_they_happen() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "events")?;
    namespace.ready_workspace("ada", "")?;
    let mut command = cluster.lodge_command(&["events", "ada", "-f", "-o", "json", "-n", &namespace.name]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("an output")?).lines();
    let detached = namespace.lodge(&["shell", "ada", "--detach", "--", "true"])?.success();
    let mut kinds = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line?)?;
        kinds.push(event["type"].as_str().unwrap_or_default().to_owned());
        if event["type"] == "shellExit" {
            break;
        }
    }
    let ended = child.kill().and_then(|()| child.wait());
    detached?;
    ended?;
    for kind in ["vmBooted", "shellStarted", "shellExit"] {
        assert!(kinds.iter().any(|seen| seen == kind), "{kind} is missing: {kinds:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn completion_version_and_help_need_no_cluster() -> Result<()> {
    let cluster = Cluster::find()?;
    let bare = |args: &[&str]| {
        let mut plugin = cluster.lodge_command(args);
        e2e::command::run(plugin.env("KUBECONFIG", "/nonexistent"))
    };
    for shell in ["bash", "zsh", "fish"] {
        let script = bare(&["completion", shell])?.success()?;
        assert!(script.contains("kubectl-lodge"), "{shell}");
    }
    assert!(bare(&["version"])?.success()?.contains(env!("CARGO_PKG_VERSION")));
    for (command, _) in SUBCOMMANDS.iter().filter(|(command, _)| *command != "version") {
        assert!(bare(&[command, "--help"])?.success()?.contains("Examples:"), "{command} teaches by example");
    }
    Ok(())
}
