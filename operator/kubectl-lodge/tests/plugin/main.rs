//! The plugin as its users see it: a command line, streams and an exit code, against a gateway over TLS on loopback.

#[cfg(test)]
mod completion;
#[cfg(test)]
mod cron;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod files;
#[cfg(test)]
mod looking;
#[cfg(test)]
mod real;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tty;
#[cfg(test)]
mod wrong;

use serde_json::json;
use support::answer::{exited, refused};
use support::pki::user_certificate;
use support::world::{CONFIG_MAP, World};
use vm_api::ProblemCode;

#[tokio::test]
async fn a_command_runs_with_the_kubeconfig_s_token_in_its_namespace() {
    let world = World::new(|_| exited(3, "hello\n")).await;
    let outcome =
        world.run(&["exec", "ada", "-e", "A=1", "-w", "/work", "--timeout", "30s", "--", "ls", "-la"]).await;
    assert_eq!((outcome.code, &outcome.stdout[..], outcome.stderr.as_str()), (3, &b"hello\n"[..], ""));
    let seen = &world.seen()[0];
    assert_eq!(seen.path, "/v1/namespaces/team-a/workspaces/ada/exec");
    assert_eq!(seen.header("authorization"), Some("Bearer jane-token"));
    assert!(!seen.has_certificate);
    assert_eq!(seen.body()["argv"], json!(["ls", "-la"]));
    assert_eq!(seen.body()["env"], json!([{"name": "A", "value": "1"}]));
    assert_eq!((seen.body()["cwd"].clone(), seen.body()["timeout"].clone()), (json!("/work"), json!("30s")));
}

#[tokio::test]
async fn a_script_is_run_by_the_shell_of_the_workspace() {
    let world = World::new(|_| exited(0, "")).await;
    assert_eq!(world.run(&["exec", "-n", "team-b", "ada", "-c", "a | b"]).await.code, 0);
    let seen = &world.seen()[0];
    assert_eq!(seen.path, "/v1/namespaces/team-b/workspaces/ada/exec");
    assert_eq!(seen.body()["command"], "a | b");
    assert!(seen.body().get("argv").is_none());
}

#[tokio::test]
async fn standard_input_is_passed_on_byte_by_byte_when_asked_for() {
    let world = World::new(|_| exited(0, "")).await;
    world.run_with(&["exec", "ada", "-i", "--", "cat"], &b"\xff\x00"[..]).await;
    world.run_with(&["exec", "ada", "--", "cat"], &b"ignored"[..]).await;
    assert_eq!(world.seen()[0].body()["stdinBase64"], "/wA=");
    assert!(world.seen()[1].body().get("stdinBase64").is_none());
}

#[tokio::test]
async fn a_client_certificate_of_the_kubeconfig_is_shown_to_the_gateway() {
    let world = World::new(|_| exited(0, "")).await;
    let (certificate, key) = user_certificate(&world.authority);
    world.set_user(&format!("{{client-certificate-data: {certificate}, client-key-data: {key}}}"));
    let outcome = world.run(&["exec", "ada", "--", "true"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(world.seen()[0].has_certificate);
    assert_eq!(world.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_credential_plugin_is_run_once() {
    let world = World::new(|_| exited(0, "")).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        r#"echo ran >> {}; printf %s "{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"from-plugin\"}}}}""#,
        log.path().display()
    );
    let user = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        "interactiveMode": "Never",
    }});
    world.set_user(&user.to_string());
    let outcome = world.run(&["exec", "ada", "--", "true"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(world.seen()[0].header("authorization"), Some("Bearer from-plugin"));
    assert_eq!(std::fs::read_to_string(log.path()).unwrap(), "ran\n");
}

#[tokio::test]
async fn what_the_gateway_refuses_is_said_in_its_words() {
    for (code, detail, exit_code) in [
        (ProblemCode::Forbidden, "user \"jane\" may not create workspaces/exec", 125),
        (ProblemCode::WorkspaceNotFound, "there is no workspace ada", 125),
        (ProblemCode::CommandNotFound, "there is no command frobnicate", 127),
        (ProblemCode::CommandNotExecutable, "/etc/motd is not executable", 126),
    ] {
        let world = World::new(move |_| refused(code, detail)).await;
        let outcome = world.run(&["exec", "ada", "--", "true"]).await;
        assert_eq!((outcome.code, outcome.stderr), (exit_code, format!("error: {detail}\n")));
    }
}

#[tokio::test]
async fn a_workspace_that_is_not_there_yet_is_waited_for() {
    let not_yet = || refused(ProblemCode::WorkspaceNotBound, "it has no runner yet");
    let world = World::new(move |count| if count < 2 { not_yet() } else { exited(0, "up\n") }).await;
    let outcome = world.run(&["exec", "ada", "--", "true"]).await;
    assert_eq!((outcome.code, &outcome.stdout[..]), (0, &b"up\n"[..]));
    assert_eq!(outcome.stderr, "waiting up to 1m for workspace ada: it has no runner yet\n");
    let world = World::new(move |_| not_yet()).await;
    let outcome = world.run(&["exec", "ada", "--wait", "0", "--", "true"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (125, "error: it has no runner yet\n"));
}

#[tokio::test]
async fn a_vm_that_does_not_boot_is_reported_and_not_waited_for() {
    let world = World::new(|_| refused(ProblemCode::BootFailed, "the VM does not boot: no memory")).await;
    let outcome = world.run(&["exec", "ada", "--", "true"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (125, "error: the VM does not boot: no memory\n"));
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn a_cluster_without_lodge_is_told_from_one_whose_operator_does_not_run() {
    let world = World::new(|_| exited(0, "")).await;
    world.objects.lock().unwrap().clear();
    let outcome = world.run(&["exec", "ada", "--", "true"]).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("not installed in namespace lodge-system"), "{}", outcome.stderr);
    world.put(CONFIG_MAP, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}));
    let outcome = world.run(&["exec", "ada", "--", "true"]).await;
    assert!(outcome.stderr.contains("has no ca.crt yet"), "{}", outcome.stderr);
}

#[tokio::test]
async fn without_an_address_a_ready_pod_of_the_gateway_is_needed() {
    let world = World::new(|_| exited(0, "")).await;
    world.put(CONFIG_MAP, world.config_map(None));
    let pending = json!({"metadata": {"name": "lodge-gateway-x"}, "status": {"phase": "Pending"}});
    world.put(
        "/api/v1/namespaces/lodge-system/pods",
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pending]}),
    );
    let outcome = world.run(&["exec", "ada", "--", "true"]).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("no pod of the gateway is ready"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_gateway_of_another_authority_never_sees_the_token() {
    let world = World::new(|_| exited(0, "")).await;
    let other = World::new(|_| exited(0, "")).await;
    let address = format!("https://{}", other.gateway);
    let outcome = world.run(&["exec", "ada", "--gateway", &address, "--", "true"]).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("cannot be reached"), "{}", outcome.stderr);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn an_address_and_a_ca_make_the_config_map_unnecessary() {
    let world = World::new(|_| exited(0, "ok")).await;
    world.objects.lock().unwrap().clear();
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), world.authority.pem()).unwrap();
    let address = format!("localhost:{}", world.gateway.port());
    let ca = ca.path().to_str().unwrap();
    let outcome = world.run(&["exec", "ada", "--gateway", &address, "--gateway-ca", ca, "--", "true"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn a_kubeconfig_that_impersonates_is_refused_before_anything_is_sent() {
    let world = World::new(|_| exited(0, "")).await;
    world.set_user("{token: jane-token, as: root}");
    let outcome = world.run(&["exec", "ada", "--", "true"]).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("acts as another user"), "{}", outcome.stderr);
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn the_state_of_a_workspace_is_explained() {
    let world = World::new(|_| exited(0, "")).await;
    world.put(
        "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces/ada",
        json!({"apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": "ada"}, "spec": {},
               "status": {"power": "Asleep", "conditions": [{"type": "Ready", "status": "True", "reason": "Bound"}]}}),
    );
    let outcome = world.run(&["status", "ada"]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.starts_with(b"Workspace ada in namespace team-a is ready and asleep."));
    let outcome = world.run(&["status", "bob"]).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("there is no workspace bob in namespace team-a"), "{}", outcome.stderr);
}

#[tokio::test]
async fn the_version_and_the_help_need_no_cluster() {
    let world = World::new(|_| exited(0, "")).await;
    let version = world.run(&["version"]).await;
    assert!(version.code == 0 && version.stdout.starts_with(b"kubectl-lodge "));
    let help = world.run(&["exec", "--help"]).await;
    assert!(help.code == 0 && String::from_utf8(help.stdout).unwrap().contains("Exit codes:"));
    let wrong = world.run(&["exec", "ada"]).await;
    assert_eq!((wrong.code, wrong.stdout.len()), (125, 0));
}

/// Every command that asks the gateway.
const ASKING: [&[&str]; 16] = [
    &["exec", "ada", "--", "true"],
    &["exec", "ada", "-it", "--", "true"],
    &["shell", "ada"],
    &["shell", "ada", "--list"],
    &["shell", "ada", "--end", "1"],
    &["cp", "-", "ada:/x"],
    &["cp", "ada:/x", "-"],
    &["ls", "ada:/x"],
    &["cat", "ada:/x"],
    &["edit", "ada:/x"],
    &["ps", "ada"],
    &["kill", "ada", "7"],
    &["top", "ada"],
    &["events", "ada"],
    &["wake", "ada"],
    &["sleep", "ada"],
];

#[tokio::test]
async fn every_command_says_what_the_gateway_refuses() {
    for code in [
        ProblemCode::Unauthenticated,
        ProblemCode::Forbidden,
        ProblemCode::WorkspaceNotFound,
        ProblemCode::WorkspaceDeleting,
        ProblemCode::BootFailed,
    ] {
        let world = World::new(move |_| refused(code, "no: this is why")).await;
        for arguments in ASKING {
            let outcome = world.run(arguments).await;
            let said = outcome.stderr.lines().last().unwrap_or_default().to_owned();
            assert_eq!(
                (outcome.code, said.as_str()),
                (125, "error: no: this is why"),
                "{code:?} {arguments:?}"
            );
        }
    }
}

#[tokio::test]
async fn every_command_waits_only_as_long_as_it_is_told() {
    for code in [ProblemCode::LimitWorkspaceRequests, ProblemCode::WorkspaceNotBound] {
        let world = World::new(move |_| refused(code, "not now")).await;
        for arguments in ASKING {
            let (command, rest) = arguments.split_first().unwrap();
            let outcome = world.run(&[&[*command, "--wait", "0"], rest].concat()).await;
            assert_eq!(
                (outcome.code, outcome.stderr.contains("not now")),
                (125, true),
                "{code:?} {arguments:?}"
            );
        }
        assert_eq!(world.seen().len(), ASKING.len(), "each has asked once");
    }
}
