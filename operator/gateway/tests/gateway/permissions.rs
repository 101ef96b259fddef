//! Which permission each request needs, and which tokens count.

use gateway::config::{Limits, Timeouts};

use crate::support::runner::echo;
use crate::support::world::{World, exec, request, whole};

/// Every kind of request, and the permission that it needs.
const REQUESTS: [(&str, &str, &str, &str); 32] = [
    ("POST", "exec", "create", "exec"),
    ("GET", "files/a", "get", "files"),
    ("GET", "files/a?list&depth=2", "get", "files"),
    ("GET", "files/a?watch", "get", "files"),
    ("POST", "files:batchRead", "get", "files"),
    ("GET", "files:archive?path=/a", "get", "files"),
    ("PUT", "files/a", "update", "files"),
    ("PATCH", "files/a", "update", "files"),
    ("DELETE", "files/a", "update", "files"),
    ("POST", "files:mkdir", "update", "files"),
    ("POST", "files:move", "update", "files"),
    ("POST", "files:copy", "update", "files"),
    ("POST", "files:link", "update", "files"),
    ("POST", "files:batchWrite", "update", "files"),
    ("PUT", "files:archive?path=/a", "update", "files"),
    ("POST", "files:fsck", "update", "files"),
    ("GET", "processes", "get", "processes"),
    ("GET", "processes/7", "get", "processes"),
    ("GET", "processes/7/wait", "get", "processes"),
    ("GET", "processes/7/output?after=3", "get", "processes"),
    ("POST", "processes", "create", "processes"),
    ("POST", "processes/7/kill", "update", "processes"),
    ("POST", "processes/7/stdin", "update", "processes"),
    ("GET", "processes/7/strace", "update", "processes"),
    ("GET", "shells", "get", "shells"),
    ("POST", "shells", "create", "shells"),
    ("POST", "shells/s/resize", "update", "shells"),
    ("DELETE", "shells/s", "delete", "shells"),
    ("GET", "events?after=0", "get", "events"),
    ("GET", "runs", "get", "runs"),
    ("POST", "wake", "update", "power"),
    ("GET", "health", "get", "power"),
];

#[tokio::test]
async fn each_permission_allows_what_it_says_and_nothing_else() {
    let (world, _runner) = World::usual(echo()).await;
    let mut connection = world.connect(None).await;
    let mut permissions: Vec<_> =
        REQUESTS.iter().map(|(_, _, verb, subresource)| (*verb, *subresource)).collect();
    permissions.sort_unstable();
    permissions.dedup();
    for (number, (verb, subresource)) in permissions.into_iter().enumerate() {
        let (user, token) = (format!("user-{number}"), format!("token-{number}"));
        world.api.accept_token(&token, &user, &[]);
        world.api.grant(&user, verb, subresource, "team-a");
        for (method, area, wanted_verb, wanted_subresource) in REQUESTS {
            let mut attempt = request(method, "ada", area, whole(""));
            attempt.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            let answered = connection.send(attempt).await;
            let expected = if (verb, subresource) == (wanted_verb, wanted_subresource) { 200 } else { 403 };
            assert_eq!(answered.status, expected, "{method} {area} by who may {verb} {subresource}");
            if expected == 200 {
                assert_eq!(answered.json()["uri"], format!("/v1/workspaces/uid-ada/{area}"));
            }
        }
    }
}

#[tokio::test]
async fn a_run_is_begun_by_nobody_but_the_operator() {
    let (world, _runner) = World::usual(echo()).await;
    for (method, area) in [("PUT", "runs/nightly"), ("POST", "runs/nightly/stop")] {
        let answered = world.send(request(method, "ada", area, whole("{}"))).await;
        assert_eq!((answered.status, answered.code().as_str()), (403, "forbidden"));
        assert!(answered.detail().contains("create a CronJob"), "{}", answered.detail());
    }
}

#[tokio::test]
async fn tokens_for_another_audience_expired_and_forged_ones_are_refused() {
    let (world, _runner) = World::usual_for(&["lodge"], echo(), Timeouts::default(), Limits::default()).await;
    world.api.accept_token_for("lodge", "for-us", "jane", &[]);
    // The API server does not know expired and forged tokens; `jane-token` is for the API server itself.
    for (token, status) in
        [("for-us", 200), ("jane-token", 401), ("expired", 401), ("e30.eyJzdWIiOiJqYW5lIn0.Zm9yZ2Vk", 401)]
    {
        let mut attempt = exec("ada");
        attempt.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        assert_eq!(world.send(attempt).await.status, status, "{token}");
    }
}

#[tokio::test]
async fn the_openapi_document_is_told_to_users_under_the_paths_of_the_gateway() {
    let script = crate::always(|| {
        let document =
            r#"{"info": {}, "components": {}, "paths": {"/v1/workspaces/{uid}/exec": {"post": {}}}}"#;
        crate::support::runner::answer(http::StatusCode::OK, document)
    });
    let (world, _runner) = World::usual(script).await;
    let openapi = |token: Option<&str>| {
        let mut request = http::Request::get("/openapi.json").header("host", "gateway");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(whole("")).unwrap()
    };
    assert_eq!(world.send(openapi(None)).await.status, 401);
    for _ in 0..2 {
        let answered = world.send(openapi(Some("jane-token"))).await;
        assert_eq!(
            (answered.status, &answered.headers["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        let path = "/v1/namespaces/{namespace}/workspaces/{workspace}/exec";
        assert_eq!(answered.json()["paths"][path]["post"]["x-permission"]["verb"], "create");
    }
}
