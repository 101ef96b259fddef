//! Bad input: each gets a clear error that names the thing and the way out, and loses nothing.

use anyhow::Result;
use e2e::{
    cluster::Cluster,
    gateway::{Answer, GatewayClient, Identity},
    namespace::Namespace,
};

/// Asserts the status and the code of a problem document, and that its detail has every word.
fn assert_problem(answer: &Answer, status: u16, code: &str, words: &[&str]) {
    let text = answer.text();
    assert_eq!(answer.status.as_u16(), status, "{text}");
    let content_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok());
    assert_eq!(content_type, Some("application/problem+json"), "{text}");
    let problem = answer.json().expect("a problem document is JSON");
    assert_eq!(problem["code"], code, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn an_unknown_package_stalls_the_workspace_and_names_it() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "package")?;
    namespace.apply_workspace("ada", "  software: [{name: common}, {name: emacs}]")?.success()?;
    let (reason, message) = namespace.condition("ada", "Stalled", "True")?;
    assert_eq!(reason, "SoftwareUnknown");
    assert!(message.contains("spec.software[1]") && message.contains("emacs"), "{message}");
    assert!(message.contains("common"), "lists what there is: {message}");
    assert_eq!(namespace.condition("ada", "Ready", "False")?.0, "SoftwareUnknown");
    namespace.ready_workspace("ada", "  software: [{name: common}]")
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn an_unknown_secret_is_named_and_its_creation_is_noticed() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "nosecret")?;
    let spec =
        "  env: [{name: A, value: b}, {name: TOKEN, valueFrom: {secretKeyRef: {name: llm, key: token}}}]";
    namespace.apply_workspace("ada", spec)?.success()?;
    let (reason, message) = namespace.condition("ada", "Ready", "False")?;
    assert!(["SecretMissing", "RunnerNotReady"].contains(&reason.as_str()), "{reason}: {message}");
    e2e::namespace::eventually(std::time::Duration::from_secs(60), || {
        let (_, message) = namespace.condition("ada", "Ready", "False")?;
        Ok(message.contains("spec.env[1]") && message.contains("\"llm\""))
    })?;
    let create = ["create", "secret", "generic", "llm", "-n", &namespace.name, "--from-literal=token=t"];
    cluster.kubectl(&create)?.success()?;
    namespace.ready_workspace("ada", spec)?;
    assert_eq!(namespace.exec("ada", &["printenv", "TOKEN"])?.success()?, "t\n");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn an_invalid_environment_variable_is_refused_by_the_api_server() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "env")?;
    let refused = namespace.apply_workspace("ada", "  env: [{name: \"1 BAD=\", value: x}]")?;
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("spec.env[0].name"), "{}", refused.stderr);
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_command_that_is_not_there_is_named() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "command")?;
    namespace.ready_workspace("ada", "")?;
    let by_shell = namespace.exec("ada", &["sh", "-c", "nosuch"])?;
    assert_eq!(by_shell.code, 127, "{}", by_shell.stderr);
    let by_argv = namespace.exec("ada", &["nosuch"])?;
    assert_eq!(by_argv.code, 127, "{}", by_argv.stderr);
    assert!(by_argv.stderr.contains("nosuch"), "{}", by_argv.stderr);
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn bad_requests_get_problem_documents() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "requests")?;
    namespace.ready_workspace("ada", "  storage: {type: Ephemeral, size: 16Mi}")?;
    let base = format!("/v1/namespaces/{}/workspaces/ada", namespace.name);
    tokio::runtime::Runtime::new()?.block_on(async {
        let connect = || GatewayClient::connect(&cluster, &Identity::Administrator);
        let exec = format!("{base}/exec");
        let answer = connect().await?.send("POST", &exec, "{\"command\": \"true\"").await?;
        assert_problem(&answer, 400, "malformed-json", &["line 1"]);
        let answer = connect().await?.send("POST", &exec, "{\"comand\": \"true\"}").await?;
        assert_problem(&answer, 400, "invalid-request", &["comand"]);
        let answer = connect().await?.announce("POST", &exec, 32 << 20).await?;
        assert_problem(&answer, 413, "body-too-large", &["limit"]);
        let answer = connect().await?.send("GET", &format!("{base}/files/tmp/a%00b"), "").await?;
        assert_problem(&answer, 400, "invalid-path", &["NUL"]);
        let put = async |name: &str, bytes: usize| {
            connect().await?.send("PUT", &format!("{base}/files/home/agent/{name}"), vec![7; bytes]).await
        };
        assert_problem(&put("big", 24 << 20).await?, 413, "body-too-large", &["spec.storage.size"]);
        assert!(put("half", 10 << 20).await?.status.is_success());
        assert_problem(&put("big", 10 << 20).await?, 507, "limit-storage", &["spec.storage.size"]);
        let answer = connect().await?.send("GET", &format!("{base}/files/home/agent/big"), "").await?;
        assert_problem(&answer, 404, "path-not-found", &["/home/agent/big"]);
        let answer = connect().await?.send("POST", &format!("{base}/nosuch"), "{}").await?;
        assert_problem(&answer, 404, "route-not-found", &["nosuch"]);
        let answer = connect().await?.send("DELETE", &exec, "").await?;
        assert_problem(&answer, 405, "method-not-allowed", &["POST"]);
        let answer = connect().await?.exec(&namespace.name, "ada", "echo fine").await?;
        assert_eq!(answer.json()?["stdout"], "fine\n", "nothing was lost");
        anyhow::Ok(())
    })
}
