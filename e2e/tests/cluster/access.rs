//! Who may do what: Kubernetes RBAC on virtual subresources is the truth at the gateway.

use anyhow::Result;
use e2e::{
    cluster::{Cluster, SYSTEM_NAMESPACE},
    gateway::{GatewayClient, Identity},
    namespace::Namespace,
    user::User,
};

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_user_without_the_permission_gets_403_that_names_it() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "forbidden")?;
    namespace.ready_workspace("ada", "")?;
    let viewer = User::create(&cluster, &namespace, "viewer", Some("view"))?;
    assert!(!viewer.can_i(&namespace, "ada", "create", "exec")?);
    let seen = viewer.kubectl(&["get", "workspace", "ada", "-n", &namespace.name, "-o", "name"])?;
    assert_eq!(seen.success()?.trim(), "workspace.lodge.dev/ada", "view sees Workspaces");
    let answer = exec_with_token(&cluster, &viewer.token, &namespace.name, "ada")?;
    assert_eq!(answer.status, 403);
    let detail = answer.json()?["detail"].as_str().unwrap_or_default().to_owned();
    assert!(
        detail.contains("workspaces/exec") && detail.contains("create"),
        "names the permission: {detail}"
    );
    let unknown = exec_with_token(&cluster, &viewer.token, &namespace.name, "nobody")?;
    assert_eq!(unknown.status, 403, "a forbidden user learns nothing about which workspaces exist");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn a_user_with_edit_in_the_namespace_runs_commands_there_and_nowhere_else() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "edit")?;
    let elsewhere = Namespace::create(&cluster, "elsewhere")?;
    namespace.ready_workspace("ada", "")?;
    elsewhere.ready_workspace("ada", "")?;
    let editor = User::create(&cluster, &namespace, "editor", Some("edit"))?;
    assert!(editor.can_i(&namespace, "ada", "create", "exec")?);
    let here = exec_with_token(&cluster, &editor.token, &namespace.name, "ada")?;
    assert_eq!(here.status, 200, "{}", here.text());
    assert_eq!(exec_with_token(&cluster, &editor.token, &elsewhere.name, "ada")?.status, 403);
    let unknown = exec_with_token(&cluster, &editor.token, &namespace.name, "nobody")?;
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()?["code"].as_str()),
        (404, Some("workspace-not-found"))
    );
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn without_credentials_or_with_false_ones_the_answer_is_401() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "anonymous")?;
    let runtime = tokio::runtime::Runtime::new()?;
    for identity in [Identity::Anonymous, Identity::Token("eyJhbGciOiJSUzI1NiJ9.e30.AAAA".to_owned())] {
        let answer = runtime.block_on(async {
            GatewayClient::connect(&cluster, &identity).await?.exec(&namespace.name, "ada", "true").await
        })?;
        assert_eq!(answer.status, 401, "{identity:?}: {}", answer.text());
        assert_eq!(answer.json()?["code"], "unauthenticated");
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn kubectl_lodge_works_with_a_token_and_through_a_configured_address() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "token")?;
    namespace.ready_workspace("ada", "")?;
    let editor = User::create(&cluster, &namespace, "editor", Some("edit"))?;
    let address = cluster.field(SYSTEM_NAMESPACE, "service/lodge-gateway", ".spec.clusterIP")?;
    let gateway = format!("https://{address}");
    let args = ["exec", "ada", "-n", &namespace.name, "--gateway", &gateway, "--", "id", "-u"];
    let done = editor.lodge(&args)?;
    assert_eq!(done.success()?, "1000\n");
    let viewer = User::create(&cluster, &namespace, "viewer", Some("view"))?;
    let refused = viewer.lodge(&args)?;
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("workspaces/exec"), "names the permission: {}", refused.stderr);
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn the_runner_refuses_whoever_is_not_the_gateway_or_the_operator() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "direct")?;
    namespace.ready_workspace("ada", "")?;
    let pod = cluster.field(&namespace.name, "pod/lodge-runner-0", ".status.podIP")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let refused = runtime.block_on(async {
        let mut roots = rustls::RootCertStore::empty();
        let ca = cluster.field(SYSTEM_NAMESPACE, "configmap/lodge-gateway", ".data.ca\\.crt")?;
        use rustls::pki_types::pem::PemObject;
        for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = tokio::net::TcpStream::connect((pod.as_str(), 7443)).await?;
        let name = format!("lodge-runner-0.lodge-runner.{}.svc", namespace.name);
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let mut stream = connector.connect(rustls::pki_types::ServerName::try_from(name)?, tcp).await?;
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut answer = Vec::new();
        let asked = stream.write_all(b"GET /v1/workspaces HTTP/1.0\r\n\r\n").await;
        let read = stream.read_to_end(&mut answer).await;
        anyhow::Ok(asked.is_err() || read.is_err() || !String::from_utf8_lossy(&answer).contains(" 200 "))
    })?;
    assert!(refused, "a client without a certificate was served");
    Ok(())
}

fn exec_with_token(
    cluster: &Cluster,
    token: &str,
    namespace: &str,
    name: &str,
) -> Result<e2e::gateway::Answer> {
    let identity = Identity::Token(token.to_owned());
    tokio::runtime::Runtime::new()?.block_on(async {
        GatewayClient::connect(cluster, &identity).await?.exec(namespace, name, "true").await
    })
}
