//! The charts as Helm renders them: linted, with the values of `charts/lodge/tests`, and by the rules of the project.
//!
//! Needs the `helm` that `make build` puts into `.local/bin`, and no cluster.

#![cfg(test)]

use anyhow::{Context, Result, ensure};
use e2e::command::{Finished, command, run};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn helm(args: &[&str]) -> Result<Finished> {
    let helm = root().join(".local/bin/helm");
    ensure!(helm.exists(), "{} is missing; `make build` makes it", helm.display());
    run(command(helm, args).current_dir(root()))
}

/// The rendered objects, as JSON: Helm prints YAML, `kubectl create --dry-run` needs a server, so YAML is split here
/// and parsed by the YAML reader of kube's kubeconfig.
fn render(values: &[&str]) -> Result<String> {
    let mut args =
        vec!["template", "lodge", "charts/lodge", "--namespace", "lodge-system", "--kube-version", "1.34.0"];
    for file in values {
        args.extend(["--values", file]);
    }
    helm(&args)?.success()
}

/// The text of one rendered object.
fn object<'a>(rendered: &'a str, kind: &str, name: &str) -> Result<&'a str> {
    let is_it = |text: &&str| {
        text.contains(&format!("kind: {kind}\n")) && text.contains(&format!("\n  name: {name}\n"))
    };
    rendered.split("\n---\n").find(is_it).with_context(|| format!("no {kind} {name} is rendered"))
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn both_charts_are_free_of_lint() -> Result<()> {
    for chart in ["charts/lodge", "charts/lodge-crds"] {
        let linted = helm(&["lint", "--strict", chart])?;
        assert_eq!(linted.code, 0, "{chart}: {}{}", linted.stdout, linted.stderr);
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn the_defaults_are_two_replicas_of_each_and_restricted_pods() -> Result<()> {
    let rendered = render(&[])?;
    for name in ["lodge-operator", "lodge-gateway"] {
        let deployment = object(&rendered, "Deployment", name)?;
        for line in [
            "replicas: 2",
            "runAsNonRoot: true",
            "seccompProfile: {type: RuntimeDefault}",
            "allowPrivilegeEscalation: false",
            "readOnlyRootFilesystem: true",
            "capabilities: {drop: [ALL]}",
        ] {
            assert!(deployment.contains(line), "{name}: {line}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn every_value_reaches_the_command_line() -> Result<()> {
    let rendered = render(&["charts/lodge/tests/everything.yaml"])?;
    let operator = object(&rendered, "Deployment", "lodge-operator")?;
    for argument in [
        "--runner-image=registry.example/runner@sha256:0123",
        "--runner-image-pull-policy=Always",
        "--runner-cpu-limit=2",
        "--runner-storage-class=fast",
        "--runner-node-selector=pool=agents",
        "--runner-runtime-class=gvisor",
        "--runner-linger=5s",
        "--gateway-address=https://lodge.example.com",
        "--gateway-dns-name=lodge.example.com",
        "--concurrency=7",
        "--log-format=text",
    ] {
        assert!(operator.contains(argument), "{argument}\n{operator}");
    }
    assert!(operator.contains("--runner-tolerations=[{\\\"key\\\":\\\"agents\\\""), "{operator}");
    let gateway = object(&rendered, "Deployment", "lodge-gateway")?;
    for argument in ["--token-audience=lodge", "--hold-timeout=20s", "--max-exec-body-bytes=16777216"] {
        assert!(gateway.contains(argument), "{argument}\n{gateway}");
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn the_arguments_of_the_charts_are_those_of_the_programs() -> Result<()> {
    let rendered = render(&["charts/lodge/tests/everything.yaml"])?;
    for (name, program) in [("lodge-operator", "operator"), ("lodge-gateway", "gateway")] {
        let binary = root().join(".local/bin").join(program);
        let help = run(&mut command(&binary, ["--help"]))?.success()?;
        let deployment = object(&rendered, "Deployment", name)?;
        for line in deployment.lines().map(|line| line.trim().trim_start_matches("- ").trim_matches('"')) {
            if let Some(argument) = line.strip_prefix("--") {
                let argument = argument.split('=').next().unwrap_or_default();
                assert!(help.contains(&format!("--{argument} ")), "{program} knows no --{argument}");
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn a_bad_value_is_refused_with_its_name() -> Result<()> {
    for (set, word) in [
        ("operator.replicas=0", "replicas"),
        ("operator.replica=3", "replica"),
        ("gateway.timeouts.hold=soon", "hold"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("gateway.address=http://plain", "address"),
    ] {
        let refused = helm(&["template", "lodge", "charts/lodge", "--kube-version", "1.34.0", "--set", set])?;
        assert_ne!(refused.code, 0, "{set} was accepted");
        assert!(refused.stderr.contains(word), "{set}: {}", refused.stderr);
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn the_gateway_may_write_nothing_and_every_rule_has_its_reason() -> Result<()> {
    let rendered = render(&[])?;
    let role = object(&rendered, "ClusterRole", "lodge-gateway")?;
    for verb in ["update", "patch", "delete"] {
        assert!(!role.contains(verb), "the gateway may {verb}");
    }
    for file in ["operator-rbac.yaml", "gateway-rbac.yaml"] {
        let text = std::fs::read_to_string(root().join("charts/lodge/templates").join(file))?;
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("- apiGroups")) {
            let before = number.checked_sub(1).and_then(|above| lines.get(above)).unwrap_or(&"");
            assert!(before.starts_with('#'), "{file}:{}: `{line}` has no reason above it", number + 1);
        }
    }
    Ok(())
}

#[test]
fn the_values_of_the_readme_are_those_of_the_chart() -> Result<()> {
    let readme = std::fs::read_to_string(root().join("charts/lodge/README.md"))?;
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string(root().join("charts/lodge/values.schema.json"))?)?;
    let mut names = Vec::new();
    leaves(&schema, String::new(), &mut names);
    for name in names.iter().filter(|name| *name != "global") {
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is missing in the README of the chart");
    }
    Ok(())
}

/// The paths of the schema's leaves.
fn leaves(schema: &Value, path: String, names: &mut Vec<String>) {
    match schema["properties"].as_object() {
        None => names.push(path),
        Some(properties) => {
            for (name, child) in properties {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(child, path, names);
            }
        }
    }
}
