//! GitOps: what somebody else applies stays as it is however often a workspace sleeps, and its health is what Flux expects.

use anyhow::{Context, Result};
use e2e::{
    cluster::Cluster,
    command::{command, run_with_input},
    namespace::{Namespace, eventually},
};
use lodge_crds::RunOutcome;
use std::time::Duration;

/// What Flux says of an object, such as `workspace/ada`.
fn kstatus(cluster: &Cluster, namespace: &Namespace, object: &str) -> Result<String> {
    let get = ["get", object, "-n", &namespace.name, "-o", "json"];
    let object = cluster.kubectl(&get)?.success()?;
    let mut flux = command(cluster.bin.join("lodge-cluster"), ["kstatus"]);
    let line = run_with_input(&mut flux, object.as_bytes())?.success()?;
    Ok(line.split('\t').next().unwrap_or_default().to_owned())
}

/// Waits until Flux says that.
fn flux_says(cluster: &Cluster, namespace: &Namespace, name: &str, wanted: &str) -> Result<()> {
    let mut seen = String::new();
    eventually(Duration::from_secs(60), || {
        seen = kstatus(cluster, namespace, name)?;
        Ok(seen == wanted)
    })
    .with_context(|| format!("{name} is {seen}, not {wanted}"))
}

fn kubectl_with(cluster: &Cluster, args: &[&str], manifest: &str) -> Result<e2e::command::Finished> {
    let mut kubectl = command(cluster.bin.join("kubectl"), args);
    run_with_input(kubectl.env("KUBECONFIG", &cluster.kubeconfig), manifest.as_bytes())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn days_of_sleeping_and_waking_leave_no_difference_to_what_git_says() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "gitops")?;
    let manifest = format!(
        "apiVersion: lodge.dev/v1alpha1\nkind: Workspace\nmetadata: {{name: ada, namespace: {}}}\nspec:\n  \
         software: [{{name: common}}]\n  idle: {{sleepAfter: 1s}}\n  limits: {{memory: 256Mi}}\n",
        namespace.name
    );
    let manager = "--field-manager=argocd-controller";
    kubectl_with(&cluster, &["apply", "--server-side", manager, "-f", "-"], &manifest)?.success()?;
    namespace.wait_ready("ada")?;
    let generation = cluster.field(&namespace.name, "workspace/ada", ".metadata.generation")?;
    // Days in seconds: used, left alone, asleep; the status is written in between.
    for day in 0..4 {
        namespace
            .exec("ada", &["sh", "-c", "date >> ~/days"])?
            .success()
            .with_context(|| format!("day {day}"))?;
        eventually(Duration::from_secs(90), || {
            Ok(cluster.field(&namespace.name, "workspace/ada", ".status.power")? == "Asleep")
        })?;
        assert_eq!(kstatus(&cluster, &namespace, "workspace/ada")?, "Current", "asleep is healthy");
        let diff = kubectl_with(&cluster, &["diff", "--server-side", manager, "-f", "-"], &manifest)?;
        assert_eq!((diff.code, diff.stdout.as_str()), (0, ""), "{}", diff.stderr);
    }
    let again = kubectl_with(&cluster, &["apply", "--server-side", manager, "-f", "-"], &manifest)?;
    assert_eq!(again.code, 0, "no conflict with whoever else wrote: {}", again.stderr);
    assert_eq!(cluster.field(&namespace.name, "workspace/ada", ".metadata.generation")?, generation);
    let owners = cluster.field(&namespace.name, "workspace/ada", ".metadata.managedFields[*].manager")?;
    assert!(owners.contains("argocd-controller"), "{owners}");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn runs_leave_no_difference_to_what_git_says_of_a_cron_job() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "gitcron")?;
    namespace.ready_workspace("ada", "")?;
    let manager = "--field-manager=argocd-controller";
    let apply = |manifest: &str| {
        kubectl_with(&cluster, &["apply", "--server-side", manager, "-f", "-"], manifest)?.success()
    };
    let assert_same = |manifest: &str| {
        let diff = kubectl_with(&cluster, &["diff", "--server-side", manager, "-f", "-"], manifest)?;
        assert_eq!((diff.code, diff.stdout.as_str()), (0, ""), "{}", diff.stderr);
        anyhow::Ok(())
    };
    let spec = "  schedule: '*/2 * * * * *'\n  action: {exec: {command: 'true'}}";
    let manifest = namespace.cron_job("often", "ada", spec);
    apply(&manifest)?;
    flux_says(&cluster, &namespace, "cronjobs.lodge.dev/often", "Current")?;
    eventually(Duration::from_secs(60), || {
        let status = namespace.cron_job_status("often")?;
        Ok(status.runs.iter().filter(|run| run.outcome == Some(RunOutcome::Succeeded)).count() >= 2)
    })?;
    assert_same(&manifest)?;
    apply(&manifest).context("no conflict with whoever wrote what became of the runs")?;
    let suspended = namespace.cron_job("often", "ada", &format!("{spec}\n  suspend: true"));
    apply(&suspended)?;
    eventually(Duration::from_secs(30), || {
        let condition = ".status.conditions[?(@.type==\"Ready\")].reason";
        Ok(cluster.field(&namespace.name, "cronjobs.lodge.dev/often", condition)? == "Suspended")
    })?;
    flux_says(&cluster, &namespace, "cronjobs.lodge.dev/often", "Current").context("suspended is healthy")?;
    assert_same(&suspended)?;
    namespace.apply_cron_job(
        "never",
        "ada",
        "  schedule: '0 0 30 2 *'\n  action: {exec: {command: 'true'}}",
    )?;
    flux_says(&cluster, &namespace, "cronjobs.lodge.dev/never", "Failed").context("a day that never comes")
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn flux_sees_progress_success_and_failure() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "kstatus")?;
    // The first of a namespace: its runner has to be started.
    namespace.apply_workspace("ada", "")?.success()?;
    let mut seen = Vec::new();
    eventually(Duration::from_secs(60), || {
        seen.push(kstatus(&cluster, &namespace, "workspace/ada")?);
        Ok(seen.last().is_some_and(|last| last == "Current"))
    })?;
    seen.dedup();
    assert_eq!(seen, ["InProgress", "Current"]);
    let missing = "  env: [{name: T, valueFrom: {secretKeyRef: {name: llm, key: t}}}]";
    namespace.apply_workspace("ada", missing)?.success()?;
    flux_says(&cluster, &namespace, "workspace/ada", "Failed").context("a Secret is missing")?;
    let create = ["create", "secret", "generic", "llm", "-n", &namespace.name, "--from-literal=t=x"];
    cluster.kubectl(&create)?.success()?;
    flux_says(&cluster, &namespace, "workspace/ada", "Current")?;
    namespace.apply_workspace("bob", "  software: [{name: emacs}]")?.success()?;
    flux_says(&cluster, &namespace, "workspace/bob", "Failed").context("software that does not exist")?;
    namespace.apply_workspace("bob", "  software: [{name: common}]")?.success()?;
    flux_says(&cluster, &namespace, "workspace/bob", "Current").context("mended")?;
    // Held by somebody else's finalizer, so that there is something to see.
    let hold = "{\"metadata\":{\"finalizers\":[\"lodge.dev/e2e-hold\"]}}";
    let patch = |finalizers: &str| {
        cluster.kubectl(&[
            "patch",
            "workspace",
            "bob",
            "-n",
            &namespace.name,
            "--type=merge",
            "-p",
            finalizers,
        ])
    };
    patch(hold)?.success()?;
    cluster.kubectl(&["delete", "workspace", "bob", "-n", &namespace.name, "--wait=false"])?.success()?;
    let seen = kstatus(&cluster, &namespace, "workspace/bob");
    patch("{\"metadata\":{\"finalizers\":null}}")?.success()?;
    assert_eq!(seen?, "Terminating");
    Ok(())
}
