//! An API server in memory: stores objects, applies patches, counts writes, and fails when told to.
//!
//! It knows just enough of Kubernetes for reconcilers: resource versions, generations, UIDs, conflicts, finalizers, merge
//! patches and server-side apply by a single manager. It knows no schema and no defaults.

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

/// An API server in memory.
#[derive(Clone, Default)]
pub(crate) struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<String>,
    faults: Vec<Fault>,
    delays: Vec<(Method, Duration)>,
}

/// A request that shall fail.
struct Fault {
    path: String,
    method: Method,
    status: StatusCode,
    times: usize,
}

impl ApiServer {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.serve(request).await) }
        });
        Client::new(service, "default")
    }

    /// Stores an object as if somebody had created it. `path` is that of the object.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.0.lock().unwrap();
        let old_spec = state.objects.get(path).map(|old| old["spec"].clone());
        let is_new = old_spec.is_none();
        let generation =
            state.objects.get(path).and_then(|old| old["metadata"]["generation"].as_i64()).unwrap_or(1);
        let changed = old_spec.is_some_and(|spec| spec != object["spec"]);
        object["metadata"]["generation"] = json!(generation + i64::from(changed));
        if is_new && object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-of-{}", path.rsplit('/').next().unwrap()));
        }
        state.store(path, object);
    }

    /// The object at this path.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// All objects of a collection, such as `/apis/apps/v1/statefulsets`, over all namespaces.
    pub(crate) fn list(&self, group_version: &str, plural: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        let matching = state
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with(group_version) && path.rsplit('/').nth(1) == Some(plural));
        matching.map(|(_, object)| object.clone()).collect()
    }

    /// Removes an object as if it had never been.
    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    /// Makes the next `times` requests of this method whose path contains `path` fail.
    pub(crate) fn fail(&self, method: Method, path: &str, status: StatusCode, times: usize) {
        self.0.lock().unwrap().faults.push(Fault { path: path.to_owned(), method, status, times });
    }

    /// From now on, requests of this method are carried out at once but answered late.
    pub(crate) fn delay(&self, method: Method, by: Duration) {
        self.0.lock().unwrap().delays.push((method, by));
    }

    /// The writes since the last call, as `METHOD path`.
    pub(crate) fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().writes)
    }

    /// The published Events, as `reason: note`.
    pub(crate) fn events(&self) -> Vec<String> {
        let events = self.list("/apis/events.k8s.io/v1", "events");
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        events.iter().map(|event| format!("{}: {}", text(event, "reason"), text(event, "note"))).collect()
    }

    async fn serve(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let content_type =
            parts.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (status, answer, delay) = {
            let mut state = self.0.lock().unwrap();
            let (status, answer) = state.answer(&parts.method, &parts.uri, content_type, body);
            let delay = state.delays.iter().rev().find(|(method, _)| *method == parts.method);
            (status, answer, delay.map(|(_, by)| *by))
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(Body::from(serde_json::to_vec(&answer).unwrap()))
            .unwrap()
    }
}

type Answer = (StatusCode, Value);

impl State {
    fn answer(&mut self, method: &Method, uri: &http::Uri, content_type: &str, body: Value) -> Answer {
        let path = uri.path().trim_end_matches('/').to_owned();
        if *method != Method::GET {
            self.writes.push(format!("{method} {path}"));
        }
        if let Some(fault) = self
            .faults
            .iter_mut()
            .find(|fault| fault.times > 0 && fault.method == *method && path.contains(&fault.path))
        {
            fault.times -= 1;
            return refuse(fault.status, "injected");
        }
        match *method {
            Method::GET => match self.objects.get(&path) {
                Some(object) => (StatusCode::OK, object.clone()),
                None if is_collection(&path) => self.collection(&path, uri.query().unwrap_or_default()),
                None => refuse(StatusCode::NOT_FOUND, "not found"),
            },
            Method::POST => self.create(&path, body),
            Method::PUT => self.replace(&path, body),
            Method::PATCH if content_type.contains("apply-patch") => self.apply(&path, body),
            Method::PATCH => self.merge(&path, body),
            Method::DELETE => self.delete(&path, &body),
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "unknown method"),
        }
    }

    fn collection(&self, path: &str, query: &str) -> Answer {
        let query = query.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        let selector =
            query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
        let pairs: Vec<_> = selector.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let below = format!("{path}/");
        let matches =
            |object: &Value| pairs.iter().all(|(key, value)| object["metadata"]["labels"][*key] == *value);
        let items =
            self.objects.iter().filter(|(path, _)| path.starts_with(&below)).map(|(_, object)| object);
        let items: Vec<_> = items.filter(|object| matches(object)).cloned().collect();
        (
            StatusCode::OK,
            json!({ "metadata": { "resourceVersion": self.version.to_string() }, "items": items }),
        )
    }

    fn create(&mut self, collection: &str, mut object: Value) -> Answer {
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
        if self.objects.contains_key(&path) {
            return refuse(StatusCode::CONFLICT, "exists");
        }
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        object["metadata"]["generation"] = json!(1);
        (StatusCode::CREATED, self.store(&path, object))
    }

    fn replace(&mut self, path: &str, object: Value) -> Answer {
        let Some(old) = self.objects.get(path) else { return refuse(StatusCode::NOT_FOUND, "not found") };
        if !object["metadata"]["resourceVersion"].is_null()
            && object["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]
        {
            return refuse(StatusCode::CONFLICT, "the object has been modified");
        }
        (StatusCode::OK, self.store(path, object))
    }

    fn apply(&mut self, path: &str, patch: Value) -> Answer {
        if let Some(path) = path.strip_suffix("/status") {
            let Some(mut object) = self.objects.get(path).cloned() else {
                return refuse(StatusCode::NOT_FOUND, "not found");
            };
            if patch["metadata"]["uid"] != object["metadata"]["uid"] {
                return refuse(StatusCode::CONFLICT, "another uid");
            }
            let version = &patch["metadata"]["resourceVersion"];
            if !version.is_null() && *version != object["metadata"]["resourceVersion"] {
                return refuse(StatusCode::CONFLICT, "the object has been modified");
            }
            object["status"] = patch["status"].clone();
            return (StatusCode::OK, self.store(path, object));
        }
        let mut object = self.objects.get(path).cloned().unwrap_or_else(
            || json!({ "metadata": { "uid": format!("uid-{}", self.version), "generation": 0 } }),
        );
        let before = object["spec"].clone();
        merge(&mut object, patch);
        if object["spec"] != before {
            object["metadata"]["generation"] =
                json!(object["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        (StatusCode::OK, self.store(path, object))
    }

    fn merge(&mut self, path: &str, mut patch: Value) -> Answer {
        let Some(mut object) = self.objects.get(path).cloned() else {
            return refuse(StatusCode::NOT_FOUND, "not found");
        };
        let wanted =
            patch["metadata"].as_object_mut().and_then(|metadata| metadata.remove("resourceVersion"));
        if wanted.is_some_and(|wanted| wanted != object["metadata"]["resourceVersion"]) {
            return refuse(StatusCode::CONFLICT, "the object has been modified");
        }
        merge(&mut object, patch);
        let is_free = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if is_free && !object["metadata"]["deletionTimestamp"].is_null() {
            self.objects.remove(path);
            return (StatusCode::OK, object);
        }
        (StatusCode::OK, self.store(path, object))
    }

    fn delete(&mut self, path: &str, options: &Value) -> Answer {
        let Some(mut object) = self.objects.get(path).cloned() else {
            return refuse(StatusCode::NOT_FOUND, "not found");
        };
        let demanded = &options["preconditions"];
        if ["uid", "resourceVersion"]
            .iter()
            .any(|field| !demanded[field].is_null() && demanded[field] != object["metadata"][field])
        {
            return refuse(StatusCode::CONFLICT, "a precondition failed");
        }
        if object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
            object["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
            return (StatusCode::OK, self.store(path, object));
        }
        self.objects.remove(path);
        (StatusCode::OK, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}

/// Whether a path ends with the plural of a kind.
fn is_collection(path: &str) -> bool {
    let segments = path.trim_start_matches('/').split('/').count();
    // api/v1/namespaces/x/secrets, apis/group/v1/namespaces/x/kinds
    if path.starts_with("/api/") { segments % 2 == 1 } else { segments.is_multiple_of(2) }
}

fn merge(target: &mut Value, patch: Value) {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            for (key, value) in patch {
                if value.is_null() {
                    target.as_object_mut().unwrap().remove(&key);
                } else {
                    merge(&mut target[&key], value);
                }
            }
        }
        other => *target = other,
    }
}

fn refuse(code: StatusCode, message: &str) -> Answer {
    let reason = match code {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        _ => "Unknown",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    (code, body)
}
