//! The chart's values and the programs' arguments mirror each other: every argument on a command line is one of the program,
//! and every argument of a program has a value.

use super::{VALUES, object, objects, render, root, values_file};
use anyhow::{Context, Result};
use e2e::command::{command, run};
use std::collections::BTreeSet;

/// Arguments of `vm-runner serve` that are no values: about the program; what the operator gives; what has a better way.
const OF_RUNNERS: [&str; 12] = [
    "help",
    "dev",
    "listen",
    "data",
    "software",
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "metrics-listen",
    "volume",
    // Packing is the operator's (`runner.maxWorkspaces`), and memory that of the pod (`runner.memoryLimit`).
    "max-workspaces",
    "memory-limit",
];

/// Deployment, program, and its arguments that are no values, each for its reason.
const PROGRAMS: [(&str, &str, &[&str]); 2] = [
    (
        "lodge-operator",
        "operator",
        // About the program; from the pod; always elected; the chart's ports.
        &["help", "version", "namespace", "identity", "leader-elect", "health-listen", "metrics-listen"],
    ),
    (
        "lodge-gateway",
        "gateway",
        // About the program; from the pod; the chart's ports; what the operator makes.
        &[
            "help",
            "version",
            "namespace",
            "listen",
            "health-listen",
            "metrics-listen",
            "tls-secret",
            "runner-selector",
            "runner-port",
        ],
    ),
];

/// The arguments of a Deployment's container, whole.
fn arguments(values: &[&str], deployment: &str) -> Result<Vec<String>> {
    let objects = objects(&render(values)?)?;
    let container = &object(&objects, "Deployment", deployment)?["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().context("args")?;
    arguments.iter().map(|argument| Ok(argument.as_str().context("a string")?.to_owned())).collect()
}

fn name(argument: &str) -> String {
    argument.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned()
}

/// The long arguments that a program's help lists.
fn known(program: &str, subcommand: &[&str]) -> Result<BTreeSet<String>> {
    let arguments = subcommand.iter().chain(&["--help"]);
    let help = run(&mut command(root().join(".local/bin").join(program), arguments))?.success()?;
    let lines = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("-h, ").or_else(|| line.strip_prefix("-V, ")).unwrap_or(line);
        line.strip_prefix("--").map(str::to_owned)
    });
    Ok(lines.map(|line| line.split([' ', '=']).next().unwrap_or_default().to_owned()).collect())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn the_arguments_of_the_chart_are_those_of_the_programs() -> Result<()> {
    for (deployment, program, without_value) in PROGRAMS {
        let known = known(program, &[])?;
        let mut used = BTreeSet::new();
        for values in VALUES {
            used.extend(
                arguments(&[&values_file(values)], deployment)?.iter().map(|argument| name(argument)),
            );
        }
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{program} knows no {unknown:?}: is .local/bin up to date?");
        let missing: Vec<_> =
            known.difference(&used).filter(|name| !without_value.contains(&name.as_str())).collect();
        assert!(missing.is_empty(), "{program}: the chart has no values for {missing:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn every_argument_of_runners_has_a_value() -> Result<()> {
    let known = known("vm-runner", &["serve"])?;
    let given = arguments(&[&values_file("everything")], "lodge-operator")?;
    let used: BTreeSet<_> =
        given.iter().filter_map(|argument| argument.strip_prefix("--runner-arg=")).map(name).collect();
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "vm-runner serve knows no {unknown:?}: is .local/bin up to date?");
    let missing: Vec<_> =
        known.difference(&used).filter(|name| !OF_RUNNERS.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "vm-runner serve: the chart has no values for {missing:?}");
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn values_reach_the_command_line_as_they_are() -> Result<()> {
    let everything = values_file("everything");
    let operator = arguments(&[&everything], "lodge-operator")?;
    for argument in [
        "--runner-image=registry.example/lodge/a-runner:v8",
        "--runner-image-pull-policy=Always",
        "--runner-cpu-limit=2",
        "--runner-storage-class=fast",
        "--runner-node-selector=pool=agents",
        "--runner-tolerations=[{\"key\":\"agents\",\"operator\":\"Exists\"}]",
        "--gateway-address=https://lodge.example.com",
        "--gateway-dns-name=lodge.internal.example.com",
        "--gateway-dns-name=b.example.com",
        "--gateway-dns-name=d.example.com",
        "--concurrency=7",
    ] {
        assert!(operator.iter().any(|known| known == argument), "{argument}: {operator:#?}");
    }
    let gateway = arguments(&[&everything], "lodge-gateway")?;
    for argument in ["--token-audience=lodge", "--hold-timeout=20s", "--max-connections=11"] {
        assert!(gateway.iter().any(|known| known == argument), "{argument}: {gateway:#?}");
    }
    // Large numbers are not written with an exponent.
    let default = arguments(&[], "lodge-gateway")?;
    assert!(default.iter().any(|known| known == "--max-file-body-bytes=17179869184"), "{default:#?}");
    Ok(())
}
