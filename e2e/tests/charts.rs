//! The charts as Helm renders them: linted, with the values of `charts/lodge/tests`, and by the rules of the project.
//!
//! What is rendered needs the `helm` that `make build` puts into `.local/bin`, and no cluster. What only reads files is
//! not ignored. `UPDATE_GOLDEN=1` writes the table of values into the chart's README.

#![cfg(test)]

#[path = "charts/arguments.rs"]
mod arguments;
#[path = "charts/monitoring.rs"]
mod monitoring;
#[path = "charts/object.rs"]
mod object;
#[path = "charts/role.rs"]
mod role;
#[path = "charts/value.rs"]
mod value;

use anyhow::{Context, Result, ensure};
use e2e::command::{Finished, command, run};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The files of values that the chart is rendered with, besides none.
const VALUES: [&str; 3] = ["everything", "other", "priority"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn chart() -> PathBuf {
    root().join("charts/lodge")
}

fn helm(args: &[&str]) -> Result<Finished> {
    let helm = root().join(".local/bin/helm");
    ensure!(helm.exists(), "{} is missing; `make build` makes it", helm.display());
    run(command(helm, args).current_dir(root()))
}

/// What Helm renders with files of values.
fn render(values: &[&str]) -> Result<String> {
    let mut args =
        vec!["template", "lodge", "charts/lodge", "--namespace", "lodge-system", "--kube-version", "1.34.0"];
    for file in values {
        args.extend(["--values", file]);
    }
    helm(&args)?.success()
}

/// The path of a file of [`VALUES`].
fn values_file(name: &str) -> String {
    format!("charts/lodge/tests/{name}.yaml")
}

/// The rendered objects.
fn objects(rendered: &str) -> Result<Vec<Value>> {
    let documents = rendered.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let with_content =
        documents.filter(|text| text.lines().any(|line| !line.starts_with('#') && !line.is_empty()));
    with_content.map(|text| serde_saphyr::from_str(text).with_context(|| text.to_owned())).collect()
}

/// One of the objects.
fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let mut found =
        objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = found.next().with_context(|| format!("no {kind} {name} is rendered"))?;
    ensure!(found.next().is_none(), "{kind} {name} is rendered twice");
    Ok(object)
}

/// What the charts render without any values and with each file of [`VALUES`].
fn every_rendering() -> Result<Vec<(&'static str, Vec<Value>)>> {
    let mut renderings = vec![("no values", objects(&render(&[])?)?)];
    for name in VALUES {
        renderings.push((name, objects(&render(&[&values_file(name)])?)?));
    }
    Ok(renderings)
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
fn the_values_of_the_local_cluster_are_values_of_the_chart() -> Result<()> {
    let rendered = objects(&render(&["e2e/local-values.yaml"])?)?;
    assert_eq!(object(&rendered, "Deployment", "lodge-operator")?["spec"]["replicas"], 1);
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn a_bare_cluster_has_all_kinds_that_the_defaults_need() -> Result<()> {
    for object in objects(&render(&[])?)? {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        assert!(!group.contains('.') || group.ends_with(".k8s.io"), "{version} {}", object["kind"]);
        assert_ne!(group, "gateway.networking.k8s.io");
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
        ("gateway.address=https://lodge.example.com/path", "address"),
        ("networkPolicy.apiServerCidrs={10.0.0.1}", "apiServerCidrs"),
        ("operator.podDisruptionBudget.maxUnavailable=half", "maxUnavailable"),
        ("gateway.ingress.enabled=true", "gateway.ingress.hosts"),
        ("gateway.httpRoute.enabled=true", "gateway.httpRoute.parentRefs"),
        ("gateway.tlsRoute.enabled=true", "gateway.tlsRoute.parentRefs"),
        (
            "gateway.certificate.create=true,gateway.address=https://a.example.com",
            "gateway.certificate.issuerRef.name",
        ),
    ] {
        let refused = helm(&["template", "lodge", "charts/lodge", "--kube-version", "1.34.0", "--set", set])?;
        assert_ne!(refused.code, 0, "{set} was accepted");
        assert!(refused.stderr.contains(word), "{set}: {}", refused.stderr);
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn names_that_are_not_given_come_from_the_address() -> Result<()> {
    let rendered = objects(&render(&[&values_file("priority")])?)?;
    let host = "lodge.example.com";
    assert_eq!(
        object(&rendered, "Certificate", "lodge-gateway")?["spec"]["dnsNames"],
        serde_json::json!([host])
    );
    assert_eq!(object(&rendered, "Ingress", "lodge-gateway")?["spec"]["rules"][0]["host"], host);
    for route in ["HTTPRoute", "TLSRoute"] {
        let route = object(&rendered, route, "lodge-gateway")?;
        assert_eq!(route["spec"]["hostnames"], serde_json::json!([host]));
        assert_eq!(route["spec"]["rules"][0]["backendRefs"][0]["port"], 443);
    }
    let trust = &object(&rendered, "BackendTLSPolicy", "lodge-gateway")?["spec"]["validation"];
    assert_eq!(trust["hostname"], "lodge-gateway.lodge-system.svc");
    Ok(())
}
