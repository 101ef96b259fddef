//! Bad requests: each is answered with a problem that names the thing and the way out.

use http::{Method, StatusCode};
use vm_api::{EnvVar, ExecRequest, Problem, SoftwareRef, WireDuration, WorkspaceConfig};

use crate::runner::{Answer, Runner};

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str, words: &[&str]) -> Problem {
    let problem = answer.problem();
    assert_eq!((problem.status, problem.code.as_str()), (status, code), "{problem:?}");
    for word in words {
        assert!(problem.detail.contains(word), "{word:?} is not in {:?}", problem.detail);
    }
    problem
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_configuration_that_cannot_be_used_names_its_field() {
    let runner = Runner::start().await;
    let mut config = WorkspaceConfig::new("a", "b");
    config.software.push(SoftwareRef { name: "emacs".to_owned(), version: None });
    let problem = check(
        &runner.put_workspace("u", &config).await,
        422,
        "software-unknown",
        &["\"emacs\"", "common", "git"],
    );
    assert_eq!(problem.field.as_deref(), Some("spec.software[1].name"));
    let mut config = WorkspaceConfig::new("a", "b");
    config.env.push(EnvVar::new("A=B", "x"));
    let problem = check(&runner.put_workspace("u", &config).await, 400, "invalid-env", &["A=B"]);
    assert_eq!(problem.field.as_deref(), Some("spec.env[0].name"));
    check(&runner.get("/v1/workspaces/u").await, 404, "workspace-not-found", &["u"]);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_body_that_is_not_what_it_should_be_is_refused_with_its_place() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let exec = workspace.routes.exec();
    let answer = runner.send(Method::POST, &exec, "{\"command\": \"true\",\n oops").await;
    check(&answer, 400, "malformed-json", &["line 2 column 2"]);
    let answer = runner.send(Method::POST, &exec, r#"{"comand": "true"}"#).await;
    check(&answer, 400, "invalid-request", &["unknown field `comand`", "column"]);
    let answer = runner.send(Method::POST, &exec, "{}").await;
    check(&answer, 400, "invalid-request", &["command", "argv"]);
    let answer =
        runner.send(Method::POST, &exec, format!("{{\"stdin\":\"{}\"}}", "x".repeat(17 << 20))).await;
    let problem = check(&answer, 413, "body-too-large", &["16777216", "request body limit"]);
    assert_eq!(problem.limit.as_deref(), Some("request body limit"));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_route_or_method_that_does_not_exist_never_wakes_a_workspace() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let base = workspace.routes.base();
    check(&runner.get(&format!("{base}/execs")).await, 404, "route-not-found", &["/execs"]);
    check(&runner.get("/v2").await, 404, "route-not-found", &["/v2"]);
    let answer = runner.get(&workspace.routes.exec()).await;
    check(&answer, 405, "method-not-allowed", &["GET", "POST"]);
    assert_eq!(answer.headers["allow"], "POST");
    let answer = runner.send(Method::POST, "/v1/workspaces", "").await;
    check(&answer, 405, "method-not-allowed", &["POST"]);
    assert_eq!(workspace.state().await.power, vm_api::Power::Asleep);
    check(&runner.get("/v1/workspaces/nobody/health").await, 404, "workspace-not-found", &["nobody"]);
    check(&runner.get("/v1/workspaces/..%2f/health").await, 404, "workspace-not-found", &["letters"]);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_that_cannot_run_is_named() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let answer = workspace.try_exec(&ExecRequest::argv(["frobnicate"])).await;
    check(&answer, 404, "command-not-found", &["frobnicate", "PATH=/usr/local/sbin:"]);
    let answer = workspace.try_exec(&ExecRequest::argv(["/no/such/program"])).await;
    check(&answer, 404, "command-not-found", &["/no/such/program"]);
    let response = workspace.sh("frobnicate").await;
    assert_eq!(response.exit_code, Some(127));
    assert!(response.stderr.contains("frobnicate"), "{}", response.stderr);
    workspace.put("/home/agent/data", "no program").await;
    let answer = workspace.try_exec(&ExecRequest::argv(["/home/agent/data"])).await;
    check(&answer, 422, "command-not-executable", &["/home/agent/data"]);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_with_bad_settings_is_refused() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.command_timeout_ms = 60_000).await;
    let request = ExecRequest { cwd: Some("/no/where".to_owned()), ..ExecRequest::command("true") };
    let problem = check(&workspace.try_exec(&request).await, 422, "invalid-cwd", &["/no/where"]);
    assert_eq!(problem.errno.as_deref(), Some("ENOENT"));
    let request = ExecRequest { user: Some("bob".to_owned()), ..ExecRequest::command("true") };
    check(&workspace.try_exec(&request).await, 422, "user-unknown", &["bob", "agent", "root"]);
    let request = ExecRequest { env: vec![EnvVar::new("", "x")], ..ExecRequest::command("true") };
    check(&workspace.try_exec(&request).await, 400, "invalid-env", &["env[0].name"]);
    let timeout = Some(WireDuration(std::time::Duration::from_secs(61)));
    let request = ExecRequest { timeout, ..ExecRequest::command("true") };
    let problem = check(&workspace.try_exec(&request).await, 400, "invalid-request", &["1m1s", "60s"]);
    assert_eq!(problem.limit.as_deref(), Some("spec.limits.commandTimeout"));
    let request = ExecRequest { output_limit: Some(65 << 20), ..ExecRequest::command("true") };
    check(&workspace.try_exec(&request).await, 400, "invalid-request", &["outputLimit", "67108864"]);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_path_that_cannot_be_one_is_refused() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let base = workspace.routes.base();
    check(&runner.get(&format!("{base}/files/a%00b")).await, 400, "invalid-path", &["NUL"]);
    let answer = runner.get(&format!("{base}/files/{}", "x".repeat(300))).await;
    check(&answer, 400, "path-too-long", &["255"]);
    let answer = runner.get(&format!("{base}/files/{}", "x/".repeat(3000))).await;
    check(&answer, 400, "path-too-long", &["4096"]);
    let answer = runner.send(Method::POST, &workspace.routes.mkdir(), r#"{"path":"relative"}"#).await;
    check(&answer, 400, "invalid-path", &["not absolute"]);
    let answer = runner.get(&format!("{base}/files/?lsit")).await;
    check(&answer, 400, "invalid-query", &["lsit", "list"]);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_file_action_that_fails_names_path_and_errno() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let problem = check(&workspace.get("/no/file").await, 404, "path-not-found", &["/no/file"]);
    assert_eq!(problem.errno.as_deref(), Some("ENOENT"));
    check(&workspace.get("/home").await, 409, "is-a-directory", &["?list"]);
    check(&workspace.get("/dev/null").await, 409, "unsupported-file-type", &["/dev/null"]);
    check(&workspace.get("/etc/hostname/x").await, 409, "not-a-directory", &["/etc/hostname/x"]);
    check(&workspace.put("/etc/x", "1").await, 403, "permission-denied", &["/etc/x"]);
    check(&workspace.put("/home/agent/no/dir", "1").await, 404, "path-not-found", &["/home/agent/no/dir"]);
    check(&workspace.put("/home", "1").await, 409, "is-a-directory", &["/home"]);
    check(&workspace.delete("/", "?recursive").await, 409, "file-busy", &["/"]);
    workspace.sh("ln -s loop loop").await;
    check(&workspace.get("/home/agent/loop").await, 400, "too-many-symlinks", &["loop"]);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_file_over_the_limit_names_the_limit() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.storage.size_bytes = 1 << 20).await;
    let problem =
        check(&workspace.put("/home/agent/f", vec![0; 2 << 20]).await, 413, "body-too-large", &["1048576"]);
    assert_eq!(problem.limit.as_deref(), Some("spec.storage.size"));
    assert_eq!(workspace.put("/home/agent/half", vec![0; 600 << 10]).await.status, StatusCode::CREATED);
    let problem = check(
        &workspace.put("/home/agent/g", vec![0; 600 << 10]).await,
        507,
        "limit-storage",
        &["spec.storage.size"],
    );
    assert_eq!(problem.limit.as_deref(), Some("spec.storage.size"));
    assert_eq!(workspace.sh("ls -A").await.stdout, "half\n", "nothing is left of an upload that failed");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn too_many_processes_name_the_limit() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.processes = 1).await;
    let sleeper = ExecRequest::argv(["sleep", "2"]);
    let (first, second) = tokio::join!(workspace.try_exec(&sleeper), async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        workspace.try_exec(&ExecRequest::argv(["true"])).await
    });
    assert_eq!(first.status, StatusCode::OK);
    let problem = check(&second, 429, "limit-processes", &["1 process"]);
    assert_eq!(problem.limit.as_deref(), Some("spec.limits.processes"));
    assert_eq!(second.headers["retry-after"], "1");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn too_many_requests_name_the_limit() {
    let runner = Runner::start_with(&["--max-requests-per-workspace", "1", "--max-requests", "2"]).await;
    let (a, b, c) = (runner.workspace("a").await, runner.workspace("b").await, runner.workspace("c").await);
    let sleeper = ExecRequest::argv(["sleep", "2"]);
    let (first, second, ()) = tokio::join!(a.try_exec(&sleeper), b.try_exec(&sleeper), async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let same = a.try_exec(&ExecRequest::argv(["true"])).await;
        check(&same, 503, "limit-runner-requests", &["2 requests", "--max-requests"]);
        let other = c.try_exec(&ExecRequest::argv(["true"])).await;
        check(&other, 503, "limit-runner-requests", &["2 requests"]);
        assert_eq!(other.headers["retry-after"], "1");
    });
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
    let (first, ()) = tokio::join!(a.try_exec(&sleeper), async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let same = a.try_exec(&ExecRequest::argv(["true"])).await;
        check(&same, 429, "limit-workspace-requests", &["1 request", "--max-requests-per-workspace"]);
    });
    assert_eq!(first.status, StatusCode::OK);
}
