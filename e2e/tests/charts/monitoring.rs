//! Alerts and dashboard: the metrics that they ask for exist, and every alert has a runbook.

use super::{chart, object, objects, render, root, values_file};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

/// Each program's prefix of metrics, and the files that register them.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("lodge_operator_", &["operator/src/metrics.rs", "operator/src/cron_job/metrics.rs"]),
    ("lodge_gateway_", &["operator/gateway/src/metrics.rs"]),
    ("vm_runner_", &["vm-runner/src/supervisor/metrics.rs"]),
];
/// What is added to the name that a metric is registered by.
const SUFFIXES: [&str; 6] = ["_total", "_bucket", "_count", "_sum", "_seconds", "_bytes"];

fn is_registered(source: &str, name: &str) -> bool {
    if source.contains(&format!("\"{name}\"")) {
        return true;
    }
    SUFFIXES.iter().any(|suffix| name.strip_suffix(suffix).is_some_and(|name| is_registered(source, name)))
}

/// Every metric of ours in the text that no program registers.
fn unknown_metrics(text: &str) -> Result<BTreeSet<String>> {
    let mut unknown = BTreeSet::new();
    for (prefix, paths) in PROGRAMS {
        let sources: Vec<_> =
            paths.iter().map(|path| fs::read_to_string(root().join(path))).collect::<Result<_, _>>()?;
        let source = sources.concat();
        for (start, _) in text.match_indices(prefix) {
            let name: String = text[start + prefix.len()..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            if !is_registered(&source, &name) {
                unknown.insert(format!("{prefix}{name} ({paths:?})"));
            }
        }
    }
    Ok(unknown)
}

fn alerts() -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_str(&fs::read_to_string(chart().join("files/alerts.yaml"))?)?)
}

#[test]
fn alerts_dashboard_and_manual_ask_for_metrics_that_exist() -> Result<()> {
    for file in ["charts/lodge/files/alerts.yaml", "charts/lodge/files/dashboard.json", "docs/operations.md"]
    {
        let text = fs::read_to_string(root().join(file))?;
        let unknown = unknown_metrics(&text)?;
        assert!(unknown.is_empty(), "{file} asks for metrics that no program has: {unknown:#?}");
    }
    Ok(())
}

#[test]
fn every_alert_has_its_runbook() -> Result<()> {
    let manual = fs::read_to_string(root().join("docs/operations.md"))?;
    for alert in alerts()? {
        let name = alert["alert"].as_str().context("a name")?;
        assert!(manual.contains(&format!("\n### {name}\n")), "docs/operations.md has no section {name}");
        assert!(["critical", "warning"].contains(&alert["severity"].as_str().unwrap_or_default()), "{name}");
    }
    let known: BTreeSet<_> =
        alerts()?.iter().filter_map(|alert| alert["alert"].as_str().map(str::to_owned)).collect();
    for title in manual.lines().filter_map(|line| line.strip_prefix("### Lodge")) {
        assert!(
            known.contains(&format!("Lodge{title}")),
            "docs/operations.md explains Lodge{title}, which is no alert"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn alerts_know_the_gateways_limits_and_their_runbooks() -> Result<()> {
    let rendered = objects(&render(&[&values_file("everything")])?)?;
    let rules = object(&rendered, "PrometheusRule", "lodge")?["spec"]["groups"][0]["rules"].clone();
    let rules = rules.as_array().context("rules")?;
    assert_eq!(rules.len(), alerts()?.len());
    for rule in rules {
        let name = rule["alert"].as_str().context("a name")?.to_lowercase();
        assert!(!rule["expr"].as_str().context("an expression")?.contains("MAX_"), "{rule}");
        assert_eq!(rule["annotations"]["runbook_url"], format!("https://example.com/operations#{name}"));
        assert_eq!(rule["labels"]["team"], "platform");
    }
    let full = rules.iter().find(|rule| rule["alert"] == "LodgeGatewayFull").context("LodgeGatewayFull")?;
    assert!(full["expr"].as_str().is_some_and(|expr| expr.contains("0.9 * 12")), "{full}");
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn the_dashboard_is_the_file_and_its_panels_have_places_of_their_own() -> Result<()> {
    let rendered = objects(&render(&[&values_file("everything")])?)?;
    let map = object(&rendered, "ConfigMap", "lodge-dashboard")?;
    let text = map["data"]["lodge.json"].as_str().context("lodge.json")?;
    let dashboard: Value = serde_json::from_str(text)?;
    let file: Value = serde_json::from_str(&fs::read_to_string(chart().join("files/dashboard.json"))?)?;
    assert_eq!(dashboard, file);
    let mut places = BTreeSet::new();
    for panel in dashboard["panels"].as_array().context("panels")? {
        let place = (panel["gridPos"]["x"].as_u64(), panel["gridPos"]["y"].as_u64());
        assert!(places.insert(place), "{} lies on another panel", panel["title"]);
        let has_query = panel["targets"].as_array().is_some_and(|targets| !targets.is_empty());
        assert!(has_query || panel["type"] == "row", "{} shows nothing", panel["title"]);
    }
    Ok(())
}
