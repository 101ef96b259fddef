//! A scripted Kubernetes API server: lists and watches what a test puts into it, and reviews what a test allows. It is the
//! service below `kube::Client`, so that everything above it is real.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::broadcast;

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Clone)]
pub(crate) struct ApiServer(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changes: broadcast::Sender<(String, Value)>,
    token_reviews: AtomicUsize,
    access_reviews: AtomicUsize,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By collection, such as `workspaces`, then by namespace and name.
    objects: HashMap<String, HashMap<(String, String), Value>>,
    /// Audience and user.
    tokens: HashMap<String, (String, Value)>,
    /// What reviews of good tokens said, by token and audiences: the real one remembers it for ten seconds, this one for ever.
    reviewed: HashMap<(String, String), Value>,
    /// User, verb, subresource, namespace.
    grants: HashSet<[String; 4]>,
    trouble: Option<Trouble>,
}

/// What becomes of reviews while something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody listens.
    Refuses,
    /// Never answered.
    Hangs,
    /// Refused with this status.
    Answers(u16),
}

impl ApiServer {
    pub(crate) fn new() -> Self {
        let (changes, _) = broadcast::channel(1024);
        Self(Arc::new(Inner {
            state: Mutex::default(),
            changes,
            token_reviews: AtomicUsize::new(0),
            access_reviews: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                match server.trouble(&request) {
                    None => Ok(server.answer(request).await),
                    Some(Trouble::Refuses) => {
                        Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
                    }
                    Some(Trouble::Hangs) => std::future::pending().await,
                    Some(Trouble::Answers(code)) => Ok(status(StatusCode::from_u16(code).unwrap(), "no")),
                }
            }
        });
        Client::new(service, "default")
    }

    /// Creates or replaces an object of a collection.
    pub(crate) fn put(&self, collection: &str, mut object: Value) {
        let mut state = self.0.state.lock().unwrap();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let key = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        let known = state.objects.entry(collection.to_owned()).or_default().insert(key, object.clone());
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        let _ = self.0.changes.send((collection.to_owned(), json!({"type": kind, "object": object})));
    }

    /// Makes a token stand for a user.
    pub(crate) fn accept_token(&self, token: &str, user: &str, groups: &[&str]) {
        self.accept_token_for("https://kubernetes", token, user, groups);
    }

    /// Makes a token that is meant for an audience stand for a user.
    pub(crate) fn accept_token_for(&self, audience: &str, token: &str, user: &str, groups: &[&str]) {
        let info = json!({"username": user, "uid": format!("uid-{user}"), "groups": groups});
        let entry = (audience.to_owned(), info);
        self.0.state.lock().unwrap().tokens.insert(token.to_owned(), entry);
    }

    /// Makes a token stand for nobody.
    pub(crate) fn revoke_token(&self, token: &str) {
        self.0.state.lock().unwrap().tokens.remove(token);
    }

    /// Takes back what [`Self::grant`] gave.
    pub(crate) fn withdraw(&self, user: &str, verb: &str, subresource: &str, namespace: &str) {
        let grant = [user, verb, subresource, namespace].map(str::to_owned);
        self.0.state.lock().unwrap().grants.remove(&grant);
    }

    /// Lets a user do something in a namespace.
    pub(crate) fn grant(&self, user: &str, verb: &str, subresource: &str, namespace: &str) {
        let grant = [user, verb, subresource, namespace].map(str::to_owned);
        self.0.state.lock().unwrap().grants.insert(grant);
    }

    /// Makes every review fail so, or work again.
    pub(crate) fn set_trouble(&self, trouble: Option<Trouble>) {
        self.0.state.lock().unwrap().trouble = trouble;
    }

    fn trouble(&self, request: &Request<Body>) -> Option<Trouble> {
        let trouble = self.0.state.lock().unwrap().trouble;
        trouble.filter(|_| request.uri().path().ends_with("reviews"))
    }

    pub(crate) fn token_reviews(&self) -> usize {
        self.0.token_reviews.load(Ordering::SeqCst)
    }

    pub(crate) fn access_reviews(&self) -> usize {
        self.0.access_reviews.load(Ordering::SeqCst)
    }

    async fn answer(&self, request: Request<Body>) -> Reply {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        if path.ends_with("/tokenreviews") {
            return self.review_token(serde_json::from_slice(&body).unwrap());
        }
        if path.ends_with("/subjectaccessreviews") {
            return self.review_access(serde_json::from_slice(&body).unwrap());
        }
        let mut segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let collection = segments.pop().unwrap().to_owned();
        let namespace = match segments.as_slice() {
            [.., "namespaces", namespace] => Some((*namespace).to_owned()),
            _ => None,
        };
        let scope = Scope { collection, namespace, name: field(&query, "fieldSelector") };
        if query.contains("watch=true") { self.watch(scope) } else { self.list(&scope) }
    }

    fn list(&self, scope: &Scope) -> Reply {
        let state = self.0.state.lock().unwrap();
        let objects = state.objects.get(&scope.collection);
        let items: Vec<&Value> = objects
            .into_iter()
            .flatten()
            .map(|(_, object)| object)
            .filter(|object| scope.holds(object))
            .collect();
        reply(json!({
            "kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": state.version.to_string()}, "items": items,
        }))
    }

    fn watch(&self, scope: Scope) -> Reply {
        let changes = self.0.changes.subscribe();
        let lines = stream::unfold(changes, |mut changes| async {
            let change = changes.recv().await.ok()?;
            Some((change, changes))
        })
        .filter_map(move |(collection, event)| {
            let is_ours = collection == scope.collection && scope.holds(&event["object"]);
            let line = is_ours.then(|| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
            async move { line }
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
    }

    fn review_token(&self, mut review: Value) -> Reply {
        self.0.token_reviews.fetch_add(1, Ordering::SeqCst);
        let token = text(&review["spec"]["token"]);
        let wanted = review["spec"]["audiences"].as_array().cloned().unwrap_or_default();
        let remembered = (token.clone(), review["spec"]["audiences"].to_string());
        let mut state = self.0.state.lock().unwrap();
        if let Some(status) = state.reviewed.get(&remembered) {
            review["status"] = status.clone();
            return reply(review);
        }
        let known = state.tokens.get(&token).cloned();
        let known = known.filter(|(audience, _)| match wanted.as_slice() {
            [] => audience == "https://kubernetes",
            wanted => wanted.iter().any(|wanted| wanted == audience),
        });
        review["status"] = match known {
            Some((audience, user)) => json!({"authenticated": true, "user": user, "audiences": [audience]}),
            None => json!({"error": "[invalid bearer token, token has expired]"}),
        };
        if review["status"]["authenticated"] == true {
            state.reviewed.insert(remembered, review["status"].clone());
        }
        reply(review)
    }

    fn review_access(&self, mut review: Value) -> Reply {
        self.0.access_reviews.fetch_add(1, Ordering::SeqCst);
        let spec = &review["spec"];
        let wanted = &spec["resourceAttributes"];
        assert_eq!((&wanted["group"], &wanted["resource"]), (&json!("lodge.dev"), &json!("workspaces")));
        let grants = &self.0.state.lock().unwrap().grants;
        let mut names = vec![text(&spec["user"])];
        names.extend(spec["groups"].as_array().into_iter().flatten().map(text));
        let allowed = names.into_iter().any(|name| {
            let [verb, subresource, namespace] =
                ["verb", "subresource", "namespace"].map(|field| text(&wanted[field]));
            grants.contains(&[name, verb, subresource, namespace])
        });
        review["status"] = json!({"allowed": allowed});
        reply(review)
    }
}

struct Scope {
    collection: String,
    namespace: Option<String>,
    name: Option<String>,
}

impl Scope {
    fn holds(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        self.namespace.as_ref().is_none_or(|namespace| metadata["namespace"] == **namespace)
            && self.name.as_ref().is_none_or(|name| metadata["name"] == **name)
    }
}

/// The name in a field selector of a query.
fn field(query: &str, parameter: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{parameter}=")))?;
    Some(value.replace("%3D", "=").strip_prefix("metadata.name=")?.to_owned())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn reply(value: Value) -> Reply {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync())
}

fn status(code: StatusCode, message: &str) -> Reply {
    let mut reply = reply(json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code.as_u16(),
        "reason": "InternalError",
    }));
    *reply.status_mut() = code;
    reply
}
