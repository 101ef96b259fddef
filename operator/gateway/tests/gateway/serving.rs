//! Requests that go through, and who may make them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::always;
use crate::support::api_server::Trouble;
use crate::support::pki::Authority;
use crate::support::runner::{Script, answer, echo, problem};
use crate::support::world::{World, client_ca, exec, request, whole, workspace};
use bytes::Bytes;
use futures::stream;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use vm_api::ProblemCode;

// Who asks.

#[tokio::test]
async fn a_request_with_a_token_reaches_the_workspace() {
    let (world, _runner) = World::usual(echo()).await;
    let answered = world.send(exec("ada")).await;
    assert_eq!(answered.status, 200, "{}", answered.json());
    let seen = answered.json();
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["uri"], "/v1/workspaces/uid-ada/exec");
    assert_eq!(seen["body"], r#"{"command":"true"}"#);
}

#[tokio::test]
async fn a_request_without_credentials_is_told_how_to_authenticate() {
    let (world, _runner) = World::usual(echo()).await;
    let mut anonymous = exec("ada");
    anonymous.headers_mut().remove("authorization");
    let answered = world.send(anonymous).await;
    assert_eq!((answered.status, answered.code().as_str()), (401, "unauthenticated"));
    assert!(answered.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    assert!(answered.detail().contains("kubectl create token"), "{}", answered.detail());
}

#[tokio::test]
async fn an_unknown_or_expired_token_is_refused_without_asking_twice() {
    let (world, _runner) = World::usual(echo()).await;
    for _ in 0..3 {
        let mut stranger = exec("ada");
        stranger.headers_mut().insert("authorization", "Bearer stolen".parse().unwrap());
        let answered = world.send(stranger).await;
        assert_eq!(answered.status, 401);
        assert!(answered.detail().contains("did not accept the bearer token"), "{}", answered.detail());
        assert!(!answered.detail().contains("stolen"));
    }
    assert_eq!(world.api.token_reviews(), 1);
}

#[tokio::test]
async fn a_user_with_a_certificate_of_the_cluster_needs_no_token() {
    let (world, _runner) = World::usual(echo()).await;
    world.api.grant("admins", "create", "exec", "team-a");
    let mut request = exec("ada");
    request.headers_mut().remove("authorization");
    let identity = world.cluster.user("root", &["admins"]);
    let answered = world.connect(Some(&identity)).await.send(request).await;
    assert_eq!(answered.status, 200, "{}", answered.json());
    assert_eq!(answered.json()["headers"]["x-lodge-user"], "root");
    assert_eq!(world.api.token_reviews(), 0);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_in_words() {
    let (world, _runner) = World::usual(echo()).await;
    let foreign = Authority::new("elsewhere").user("root", &["system:masters"]);
    let mut request = exec("ada");
    request.headers_mut().remove("authorization");
    let answered = world.connect(Some(&foreign)).await.send(request).await;
    assert_eq!(answered.status, 401);
    assert!(answered.detail().contains("client certificate was not accepted"), "{}", answered.detail());
}

#[tokio::test]
async fn a_token_counts_when_the_certificate_does_not() {
    let (world, _runner) = World::usual(echo()).await;
    let foreign = Authority::new("elsewhere").user("root", &[]);
    let answered = world.connect(Some(&foreign)).await.send(exec("ada")).await;
    assert_eq!((answered.status, &answered.json()["headers"]["x-lodge-user"]), (200, &json!("jane")));
}

#[tokio::test]
async fn a_new_client_ca_counts_at_once_on_open_connections() {
    let (world, _runner) = World::usual(echo()).await;
    world.api.grant("root", "create", "exec", "team-a");
    let next = Authority::new("next");
    let mut connection = world.connect(Some(&next.user("root", &[]))).await;
    let mut attempt = exec("ada");
    attempt.headers_mut().remove("authorization");
    assert_eq!(connection.send(attempt).await.status, 401);
    world.api.put("configmaps", client_ca(&next));
    for _ in 0..200 {
        let mut attempt = exec("ada");
        attempt.headers_mut().remove("authorization");
        if connection.send(attempt).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the new CA does not count");
}

#[tokio::test]
async fn a_foreign_page_cannot_use_the_certificate_of_a_browser() {
    let (world, _runner) = World::usual(echo()).await;
    world.api.grant("root", "create", "exec", "team-a");
    let identity = world.cluster.user("root", &[]);
    for (name, value, status) in [
        ("sec-fetch-site", "cross-site", 403),
        // All that some browsers say, and all that most say of a WebSocket.
        ("origin", "https://evil.example.com", 403),
        ("origin", "https://lodge-gateway", 200),
    ] {
        let mut sent = exec("ada");
        sent.headers_mut().remove("authorization");
        sent.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(world.connect(Some(&identity)).await.send(sent).await.status, status, "{name}: {value}");
    }
}

// Whether they may.

#[tokio::test]
async fn who_may_not_is_told_which_permission_is_missing() {
    let (world, _runner) = World::usual(echo()).await;
    world.api.accept_token("joe-token", "joe", &[]);
    let mut attempt = exec("ada");
    attempt.headers_mut().insert("authorization", "Bearer joe-token".parse().unwrap());
    let answered = world.send(attempt).await;
    assert_eq!((answered.status, answered.code().as_str()), (403, "forbidden"));
    for part in ["\"joe\"", "create workspaces/exec in namespace team-a", "kubectl auth can-i create"] {
        assert!(answered.detail().contains(part), "{}", answered.detail());
    }
}

#[tokio::test]
async fn who_may_not_see_a_workspace_cannot_find_out_whether_it_exists() {
    let (world, _runner) = World::usual(echo()).await;
    world.api.accept_token("joe-token", "joe", &[]);
    let mut details = Vec::new();
    for name in ["ada", "bob"] {
        let mut attempt = exec(name);
        attempt.headers_mut().insert("authorization", "Bearer joe-token".parse().unwrap());
        let answered = world.send(attempt).await;
        assert_eq!(answered.status, 403);
        details.push(answered.detail().replace(name, "NAME"));
    }
    assert_eq!(details[0], details[1]);
}

#[tokio::test]
async fn reading_files_does_not_allow_writing_them() {
    let (world, _runner) = World::usual(echo()).await;
    world.api.accept_token("reader-token", "reader", &[]);
    world.api.grant("reader", "get", "files", "team-a");
    for (method, status) in [("GET", 200), ("HEAD", 200), ("PUT", 403), ("DELETE", 403)] {
        let mut attempt = request(method, "ada", "files/notes.txt", whole(""));
        attempt.headers_mut().insert("authorization", "Bearer reader-token".parse().unwrap());
        assert_eq!(world.connect(None).await.head(attempt).await.status(), status, "{method}");
    }
}

#[tokio::test]
async fn identity_and_permission_are_asked_for_once() {
    let (world, _runner) = World::usual(echo()).await;
    let mut connection = world.connect(None).await;
    for _ in 0..5 {
        assert_eq!(connection.send(exec("ada")).await.status, 200);
    }
    assert_eq!((world.api.token_reviews(), world.api.access_reviews()), (1, 1));
}

#[tokio::test]
async fn while_the_api_server_is_down_known_users_go_on_and_others_are_asked_to_come_again() {
    let (world, _runner) = World::usual(echo()).await;
    assert_eq!(world.send(exec("ada")).await.status, 200);
    world.api.set_trouble(Some(Trouble::Answers(500)));
    assert_eq!(world.send(exec("ada")).await.status, 200);
    let mut unknown = exec("ada");
    unknown.headers_mut().insert("authorization", "Bearer other".parse().unwrap());
    let answered = world.send(unknown).await;
    assert_eq!((answered.status, answered.code().as_str()), (503, "authentication-unavailable"));
    assert_eq!(answered.headers["retry-after"], "1");
}

// Where it goes.

#[tokio::test]
async fn a_workspace_that_does_not_exist_is_not_found() {
    let (world, _runner) = World::usual(echo()).await;
    let answered = world.send(exec("bob")).await;
    assert_eq!((answered.status, answered.code().as_str()), (404, "workspace-not-found"));
    assert!(answered.detail().contains("kubectl get workspaces -n team-a"), "{}", answered.detail());
}

#[tokio::test]
async fn a_workspace_that_was_created_a_moment_ago_is_found() {
    let (world, _runner) = World::usual(echo()).await;
    let mut connection = world.connect(None).await;
    let creation = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        world.api.put("workspaces", workspace("new", Some("lodge-runner-0")));
    };
    let (answered, ()) = tokio::join!(connection.send(exec("new")), creation);
    assert_eq!(answered.status, 200);
}

#[tokio::test]
async fn a_workspace_that_is_being_deleted_takes_no_requests() {
    let (world, _runner) = World::usual(echo()).await;
    let mut going = workspace("going", Some("lodge-runner-0"));
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.api.put("workspaces", going);
    let answered = world.send(exec("going")).await;
    assert_eq!((answered.status, answered.code().as_str()), (409, "workspace-deleting"));
}

#[tokio::test]
async fn an_area_that_does_not_exist_is_told_with_those_that_do() {
    let (world, _runner) = World::usual(echo()).await;
    let answered = world.send(request("POST", "ada", "teleport", whole(""))).await;
    assert_eq!((answered.status, answered.code().as_str()), (404, "route-not-found"));
    assert!(answered.detail().contains("exec, files/{path}"), "{}", answered.detail());
    assert_eq!(answered.json()["instance"], "/v1/namespaces/team-a/workspaces/ada/teleport");
}

// What passes.

#[tokio::test]
async fn the_path_and_the_query_pass_as_they_were_sent() {
    let (world, _runner) = World::usual(echo()).await;
    let sent =
        request("GET", "ada", "files/home/agent/a%20b%2Fc/..//%C3%A4?list&depth=2&exclude=%26", whole(""));
    let seen = world.send(sent).await.json();
    assert_eq!(
        seen["uri"],
        "/v1/workspaces/uid-ada/files/home/agent/a%20b%2Fc/..//%C3%A4?list&depth=2&exclude=%26"
    );
}

#[tokio::test]
async fn credentials_and_connection_headers_stay_at_the_gateway() {
    let (world, _runner) = World::usual(echo()).await;
    let mut sent = exec("ada");
    for (name, value) in [
        ("cookie", "session=1"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("x-remote-user", "root"),
        ("x-lodge-user", "root"),
        ("impersonate-user", "root"),
        ("x-request-id", "req-7"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("if-match", "\"etag\""),
    ] {
        sent.headers_mut().insert(name, value.parse().unwrap());
    }
    let answered = world.send(sent).await;
    let seen = answered.json()["headers"].clone();
    for gone in ["authorization", "cookie", "x-hop", "x-remote-user", "impersonate-user", "connection"] {
        assert!(seen.get(gone).is_none(), "{gone}: {seen}");
    }
    assert_eq!((&seen["x-lodge-user"], &seen["x-request-id"]), (&json!("jane"), &json!("req-7")));
    assert_eq!(seen["if-match"], "\"etag\"");
    assert_eq!(seen["host"], "lodge-runner-0.lodge-runner.team-a.svc");
    let parent = seen["traceparent"].as_str().unwrap();
    assert!(
        parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent.ends_with("-01"),
        "{parent}"
    );
    assert!(!parent.contains("b7ad6b7169203331"), "the gateway is a span of its own: {parent}");
    assert_eq!(answered.headers["x-request-id"], "req-7");
    assert!(answered.headers["server-timing"].to_str().unwrap().contains("gateway-auth"));
}

#[tokio::test]
async fn a_problem_of_the_runner_passes_as_it_is() {
    let (world, _runner) = World::usual(always(|| problem(ProblemCode::PathNotFound))).await;
    let answered = world.send(request("GET", "ada", "files/nope", whole(""))).await;
    assert_eq!((answered.status, answered.code().as_str()), (404, "path-not-found"));
    assert_eq!(answered.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn an_answer_streams_while_the_runner_is_still_writing_it() {
    let script: Script = Arc::new(|_| {
        Box::pin(async {
            let first = stream::once(async { Ok(Frame::data(Bytes::from_static(b"first"))) });
            let never = stream::pending();
            http::Response::new(StreamBody::new(futures::StreamExt::chain(first, never)).boxed_unsync())
        })
    });
    let (world, _runner) = World::usual(script).await;
    let mut connection = world.connect(None).await;
    let mut body = connection.head(request("GET", "ada", "files/log", whole(""))).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
}

#[tokio::test]
async fn an_upload_streams_while_the_client_is_still_sending_it() {
    let script: Script = Arc::new(|request: Request<_>| {
        Box::pin(async move {
            let mut body = request.into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            answer(StatusCode::OK, first)
        })
    });
    let (world, _runner) = World::usual(script).await;
    let first = stream::once(async { Ok(Frame::data(Bytes::from_static(b"first"))) });
    let body = StreamBody::new(futures::StreamExt::chain(first, stream::pending())).boxed_unsync();
    let response = world.connect(None).await.head(request("PUT", "ada", "files/big", body)).await;
    assert_eq!(response.into_body().frame().await.unwrap().unwrap().into_data().unwrap(), "first");
}

#[tokio::test]
async fn connections_to_a_runner_are_kept() {
    let (world, runner) = World::usual(echo()).await;
    for _ in 0..5 {
        assert_eq!(world.send(exec("ada")).await.status, 200);
    }
    assert_eq!(runner.connections(), 1);
}

/// Prints what it measures: `cargo test --release -p gateway -- --nocapture costs_little`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_on_a_known_way_costs_little() {
    let (world, _runner) = World::usual(always(|| answer(StatusCode::OK, "{}"))).await;
    let mut connection = world.connect(None).await;
    let mut took = Vec::new();
    for _ in 0..1_000 {
        let began = Instant::now();
        assert_eq!(connection.send(exec("ada")).await.status, 200);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    println!("gateway and runner: p50 {:?}, p99 {:?}", took[500], took[990]);
}

#[tokio::test]
async fn http_2_is_spoken_with_who_speaks_it() {
    let (world, _runner) = World::usual(echo()).await;
    let (mut sender, connection) = world.http2().await;
    let request = Request::post("https://lodge-gateway/v1/namespaces/team-a/workspaces/ada/exec")
        .header("authorization", "Bearer jane-token")
        .body(whole("{}"))
        .unwrap();
    tokio::select! {
        response = sender.send_request(request) => assert_eq!(response.unwrap().status(), 200),
        ended = connection => panic!("{ended:?}"),
    }
}
