//! `GET /openapi.json`: the OpenAPI document of a runner, as it is at the gateway.
//!
//! A runner makes the document from the types and routes that it serves; here only the paths change, and each operation is
//! told with the permission that it needs. Any runner will do, so that there is none before there is the first workspace.
//! Remembered for a while; only for users who are known, as everything that reaches a runner.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use vm_api::area::Area;
use vm_api::{ProblemCode, route};

use crate::body::OutboundBody;
use crate::deliver::Postman;
use crate::directory::{RunnerEntry, Table};
use crate::problem::Refusal;

/// What the base of a workspace is called in a runner's document, and in the gateway's.
const RUNNER_BASE: &str = "/v1/workspaces/{uid}/";
const GATEWAY_BASE: &str = "/v1/namespaces/{namespace}/workspaces/{workspace}/";
/// Larger than it will ever be.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Runners are replaced by newer ones.
const TTL: Duration = Duration::from_secs(600);
/// A runner that hangs must not keep anybody waiting; so many others are asked in its place.
const PATIENCE: Duration = Duration::from_secs(3);
const MOST_ASKED: usize = 3;

/// Shows the document.
#[derive(Debug, Default)]
pub(crate) struct OpenApi {
    remembered: Mutex<Option<(Bytes, Instant)>>,
}

impl OpenApi {
    /// The document, as JSON.
    pub(crate) async fn document(&self, postman: &Postman) -> Result<Bytes, Refusal> {
        if let Some((document, read)) = &*self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
            && read.elapsed() < TTL
        {
            return Ok(document.clone());
        }
        let document = Bytes::from(at_gateway(fetch(postman).await?).to_string());
        let remembered = (document.clone(), Instant::now());
        *self.remembered.lock().unwrap_or_else(PoisonError::into_inner) = Some(remembered);
        Ok(document)
    }
}

async fn fetch(postman: &Postman) -> Result<Map<String, Value>, Refusal> {
    let mut tried = Vec::new();
    let mut refusal = unavailable(
        "there is no runner yet that could tell: create a Workspace, and try again once it is Ready",
    );
    while tried.len() < MOST_ASKED
        && let Some(runner) = choose(postman.directory.runners(), &tried)
    {
        match tokio::time::timeout(PATIENCE, ask(postman, &runner)).await {
            Ok(Ok(document)) => return Ok(document),
            Ok(Err(why)) => refusal = why,
            Err(_) => refusal = unavailable("the runner that was asked did not answer in time; try again"),
        }
        tried.push(runner.pod_uid.clone());
    }
    Err(refusal)
}

/// A runner that was not tried yet, one that is ready if there is any.
fn choose(runners: &Table<RunnerEntry>, tried: &[Arc<str>]) -> Option<Arc<RunnerEntry>> {
    let is_new = |runner: &RunnerEntry| runner.address.is_some() && !tried.contains(&runner.pod_uid);
    runners.find(|runner| runner.is_ready && is_new(runner)).or_else(|| runners.find(is_new))
}

async fn ask(postman: &Postman, runner: &RunnerEntry) -> Result<Map<String, Value>, Refusal> {
    let mut request = Request::new(OutboundBody::Whole(Full::default()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static(route::OPENAPI);
    let failed = |error: &(dyn std::error::Error + 'static)| {
        tracing::warn!(error, runner = &*runner.name, "a runner did not show its OpenAPI document");
        unavailable("the runner that was asked did not answer; try again")
    };
    let response = postman.forwarder.send(runner, request).await.map_err(|error| failed(&error))?;
    if response.status() != StatusCode::OK {
        return Err(unavailable("the runner that was asked has no such document; try again"));
    }
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    let body = body.map_err(|_| unavailable("the runner's answer broke off; try again"))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| failed(&error))
}

fn unavailable(why: &str) -> Refusal {
    Refusal::new(
        ProblemCode::RunnerUnreachable,
        format!("the OpenAPI document comes from a runner, and {why}"),
    )
    .retry_after(1)
}

/// What a runner's document says about what can be reached here.
fn at_gateway(mut document: Map<String, Value>) -> Value {
    let paths = match document.remove("paths") {
        Some(Value::Object(paths)) => paths,
        _ => Map::new(),
    };
    let paths: Map<String, Value> =
        paths.into_iter().filter_map(|(path, item)| translate(&path, item)).collect();
    document.insert("paths".to_owned(), Value::Object(paths));
    add(&mut document, "info", "title", json!("Lodge: API of a workspace"));
    document.insert("servers".to_owned(), json!([{"url": "/", "description": "The gateway."}]));
    document.insert("security".to_owned(), json!([{"bearer": []}, {"certificate": []}]));
    let schemes = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "A Kubernetes token, which the cluster reviews."},
        "certificate": {"type": "mutualTLS", "description": "A client certificate of the cluster."},
    });
    add(&mut document, "components", "securitySchemes", schemes);
    Value::Object(document)
}

/// Writes into an object of a document that somebody else made; what is no object gives way to one.
fn add(document: &mut Map<String, Value>, name: &str, key: &str, value: Value) {
    let mut part = match document.remove(name) {
        Some(Value::Object(part)) => part,
        _ => Map::new(),
    };
    part.insert(key.to_owned(), value);
    document.insert(name.to_owned(), Value::Object(part));
}

/// A route of a runner as it is at the gateway, if it can be reached there.
fn translate(path: &str, item: Value) -> Option<(String, Value)> {
    let area = path.strip_prefix(RUNNER_BASE)?;
    let Value::Object(operations) = item else { return None };
    // Names in braces are as good as any for telling what a route is about.
    let permission = |method: &str| Area::parse(area, method).ok()?.permission(method);
    let operations: Map<String, Value> = operations
        .into_iter()
        .filter_map(|(method, operation)| {
            let permission = permission(&method.to_ascii_uppercase())?;
            let Value::Object(mut operation) = operation else { return None };
            operation.insert(
                "x-permission".to_owned(),
                json!({"verb": permission.verb, "resource": format!("workspaces/{}", permission.subresource)}),
            );
            if let Some(Value::Array(parameters)) = operation.get_mut("parameters") {
                parameters.retain(|parameter| !(parameter["in"] == "path" && parameter["name"] == "uid"));
                for (name, description) in [("workspace", "The workspace."), ("namespace", "Its namespace.")]
                {
                    parameters.insert(
                        0,
                        json!({
                            "in": "path", "name": name, "required": true, "schema": {"type": "string"},
                            "description": description,
                        }),
                    );
                }
            }
            Some((method, Value::Object(operation)))
        })
        .collect();
    (!operations.is_empty()).then(|| (format!("{GATEWAY_BASE}{area}"), Value::Object(operations)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(document: Value) -> Map<String, Value> {
        let Value::Object(document) = document else { panic!("{document}") };
        document
    }

    #[test]
    fn a_document_that_is_not_what_it_should_be_does_no_harm() {
        let shown = at_gateway(object(json!({
            "info": "none", "components": [],
            "paths": {
                "/v1/workspaces/{uid}/exec": {"post": ["no operation"]},
                "/v1/workspaces/{uid}/wake": {"post": {"parameters": ["no parameter"]}},
                "/v1/workspaces/{uid}/sleep": [],
            },
        })));
        assert_eq!(shown["info"]["title"], "Lodge: API of a workspace");
        assert!(shown["components"]["securitySchemes"].is_object());
        assert_eq!(shown["paths"].as_object().unwrap().len(), 1, "{shown}");
        assert_eq!(at_gateway(object(json!({"paths": 7})))["paths"], json!({}));
    }

    #[test]
    fn what_can_be_reached_is_told_under_the_paths_of_the_gateway() {
        let uid = json!({"in": "path", "name": "uid"});
        let name = json!({"in": "path", "name": "name"});
        let shown = at_gateway(object(json!({
            "openapi": "3.1.0", "info": {"title": "Lodge: API of a runner"}, "components": {"schemas": {}},
            "paths": {
                "/v1/watch": {"get": {}},
                "/v1/workspaces/{uid}": {"put": {}},
                "/v1/workspaces/{uid}/exec": {"post": {"parameters": [uid]}},
                "/v1/workspaces/{uid}/runs/{name}": {"get": {"parameters": [uid, name]}, "put": {}},
                "/v1/workspaces/{uid}/runs/{name}/stop": {"post": {}},
            },
        })));
        let paths: Vec<_> = shown["paths"].as_object().unwrap().keys().cloned().collect();
        let base = "/v1/namespaces/{namespace}/workspaces/{workspace}";
        assert_eq!(paths, [format!("{base}/exec"), format!("{base}/runs/{{name}}")]);
        let exec = &shown["paths"][&paths[0]]["post"];
        assert_eq!(exec["x-permission"], json!({"verb": "create", "resource": "workspaces/exec"}));
        let names: Vec<_> =
            exec["parameters"].as_array().unwrap().iter().map(|parameter| &parameter["name"]).collect();
        assert_eq!(names, ["namespace", "workspace"]);
        assert!(shown["paths"][&paths[1]].get("put").is_none(), "nobody but the operator begins a run");
        assert_eq!(shown["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    }
}
