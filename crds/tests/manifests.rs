//! The kinds on a real API server: what `manifests/valid` holds is accepted, completed and read back without loss, what
//! `manifests/invalid` holds is refused with the messages that the files state.
//!
//! A file of `manifests/invalid` begins with one line `# expect: …` for each thing that the server says. If it has two
//! documents, the first is accepted and the second, a change to it, is refused.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]
#![expect(clippy::print_stdout, reason = "the test tells of each manifest")]

#[path = "manifests/api_server.rs"]
mod api_server;

use api_server::ApiServer;
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Error, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
        ValidationDirective,
    },
    core::{GroupVersionKind, Status},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use lodge_crds::{CronJob, Session, Workspace, definitions};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};

#[tokio::test]
#[ignore = "needs an API server: make test runs it"]
async fn the_api_server_takes_the_kinds_as_the_manifests_say() {
    let server = ApiServer::start().await;
    install(&server).await;
    let mut report = Report::default();
    for manifest in manifests("valid") {
        report.add(&manifest.name, accepted(&server, &manifest).await);
    }
    for manifest in manifests("invalid") {
        report.add(&manifest.name, refused(&server, &manifest).await);
    }
    report.add("named items are merged one by one", named_items_are_merged(&server).await);
    report.add("a Workspace is found by its fields", fields_select(&server).await);
    report.add("kubectl get shows the columns", columns_are_shown(&server).await);
    report.add("the largest objects cost little enough", the_largest_are_accepted(&server).await);
    report.add("a null becomes the default", null_becomes_the_default(&server).await);
    report.add("what nobody has looked at isn't up to date", a_new_object_is_unobserved(&server).await);
    clean(&server).await;
    report.finish();
}

/// What was tried, and what of it failed.
#[derive(Default)]
struct Report {
    tried: usize,
    failures: Vec<String>,
}

impl Report {
    fn add(&mut self, name: &str, result: Result<(), String>) {
        self.tried += 1;
        match result {
            Ok(()) => println!("ok      {name}"),
            Err(failure) => {
                println!("FAILED  {name}: {failure}");
                self.failures.push(format!("{name}: {failure}"));
            }
        }
    }

    fn finish(self) {
        assert!(self.tried > 60, "only {} things were tried", self.tried);
        assert!(
            self.failures.is_empty(),
            "{} of {} failed:\n{}",
            self.failures.len(),
            self.tried,
            self.failures.join("\n")
        );
    }
}

/// A file: its expectations and its documents.
struct Manifest {
    name: String,
    expected: Vec<String>,
    documents: Vec<DynamicObject>,
}

fn manifests(folder: &str) -> Vec<Manifest> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| Manifest::read(path)).collect()
}

impl Manifest {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let expected =
            text.lines().map_while(|line| line.strip_prefix("# expect: ")).map(str::to_owned).collect();
        let read = |text: &str| {
            serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let documents = text.split("\n---\n").map(read).collect();
        let folder = path.parent().unwrap().file_name().unwrap().to_string_lossy();
        Self {
            name: format!("{folder}/{}", path.file_name().unwrap().to_string_lossy()),
            expected,
            documents,
        }
    }
}

/// Installs the definitions, which shows that the server accepts their rules and what they cost.
async fn install(server: &ApiServer) {
    let definitions_api: Api<CustomResourceDefinition> = Api::all(server.client.clone());
    for definition in definitions() {
        let name = definition.name_any();
        let apply = PatchParams::apply("lodge-crds-test").force();
        definitions_api.patch(&name, &apply, &Patch::Apply(&definition)).await.unwrap();
        let established = await_condition(definitions_api.clone(), &name, is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established).await.unwrap().unwrap();
        let definition = definitions_api.get(&name).await.unwrap();
        for condition in definition.status.and_then(|status| status.conditions).unwrap_or_default() {
            let wanted = matches!(condition.type_.as_str(), "NamesAccepted" | "Established");
            assert_eq!(condition.status == "True", wanted, "{name}: {condition:?}");
        }
    }
    let namespaces: Api<Namespace> = Api::all(server.client.clone());
    let namespace: Namespace =
        serde_json::from_value(json!({ "metadata": { "name": server.namespace } })).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    for kind in ["Workspace", "Session", "CronJob"] {
        while api(server, kind).list(&ListParams::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn clean(server: &ApiServer) {
    for kind in ["Workspace", "Session", "CronJob"] {
        api(server, kind).delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    }
    let namespaces: Api<Namespace> = Api::all(server.client.clone());
    namespaces.delete(&server.namespace, &DeleteParams::default()).await.unwrap();
}

fn api(server: &ApiServer, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("lodge.dev", "v1alpha1", kind);
    Api::namespaced_with(server.client.clone(), &server.namespace, &ApiResource::from_gvk(&kind))
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map(|types| types.kind.as_str()).unwrap_or_default()
}

/// Server-side apply that refuses fields that the schema doesn't know.
async fn apply(server: &ApiServer, object: &DynamicObject, manager: &str) -> Result<DynamicObject, Error> {
    let params =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply(manager) };
    let mut object = object.clone();
    object.metadata.namespace = None;
    api(server, kind(&object)).patch(&object.name_any(), &params, &Patch::Apply(&object)).await
}

async fn apply_status(server: &ApiServer, object: &DynamicObject) -> Result<DynamicObject, Error> {
    let params =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("status") };
    let status = json!({
        "apiVersion": "lodge.dev/v1alpha1",
        "kind": kind(object),
        "status": object.data["status"],
    });
    api(server, kind(object)).patch_status(&object.name_any(), &params, &Patch::Apply(status)).await
}

async fn delete(server: &ApiServer, object: &DynamicObject) {
    drop(api(server, kind(object)).delete(&object.name_any(), &DeleteParams::default()).await);
}

async fn accepted(server: &ApiServer, manifest: &Manifest) -> Result<(), String> {
    let mut result = Ok(());
    for object in &manifest.documents {
        result = accepted_and_kept(server, object).await;
        if result.is_err() {
            break;
        }
    }
    for object in &manifest.documents {
        delete(server, object).await;
    }
    result
}

async fn accepted_and_kept(server: &ApiServer, object: &DynamicObject) -> Result<(), String> {
    let refused = |error: Error| format!("is refused: {error}");
    let mut stored = apply(server, object, "test").await.map_err(refused)?;
    if object.data["status"].is_object() {
        stored = apply_status(server, object).await.map_err(refused)?;
    }
    contains("", &object.data, &stored.data)?;
    match kind(object) {
        "Workspace" => reads_back::<Workspace>(&stored),
        "Session" => reads_back::<Session>(&stored),
        "CronJob" => reads_back::<CronJob>(&stored),
        other => Err(format!("is no kind of ours: {other}")),
    }
}

/// Whether everything that was sent is there, and equal.
fn contains(path: &str, sent: &Value, stored: &Value) -> Result<(), String> {
    match (sent, stored) {
        (Value::Object(sent), Value::Object(stored)) => sent.iter().try_for_each(|(name, value)| {
            contains(&format!("{path}.{name}"), value, stored.get(name).unwrap_or(&Value::Null))
        }),
        (Value::Array(sent), Value::Array(stored)) if sent.len() == stored.len() => {
            let mut pairs = sent.iter().zip(stored).enumerate();
            pairs.try_for_each(|(index, (sent, stored))| contains(&format!("{path}[{index}]"), sent, stored))
        }
        _ if sent == stored => Ok(()),
        _ => Err(format!("{path} was sent as {sent} and stored as {stored}")),
    }
}

/// Whether the types hold everything that the server stored.
fn reads_back<K: DeserializeOwned + Serialize>(stored: &DynamicObject) -> Result<(), String> {
    let value = serde_json::to_value(stored).unwrap();
    let typed: K =
        serde_json::from_value(value.clone()).map_err(|error| format!("can't be decoded: {error}"))?;
    let back = serde_json::to_value(&typed).unwrap();
    for part in ["spec", "status"] {
        let (stored, back) = (without_empty(&value[part]), without_empty(&back[part]));
        if stored != back {
            return Err(format!("{part} changes on its way through the types:\n  {stored}\n  {back}"));
        }
    }
    Ok(())
}

/// Leaves out empty lists and maps, which mean the same as none.
fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), without_empty(field)))
            .filter(|(_, field)| *field != json!([]) && *field != json!({}))
            .collect(),
        Value::Array(items) => items.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}

async fn refused(server: &ApiServer, manifest: &Manifest) -> Result<(), String> {
    let [before @ .., last] = manifest.documents.as_slice() else { return Err("is empty".to_owned()) };
    let mut stored = None;
    for object in before {
        let answer = write(server, object, stored.as_ref()).await;
        stored = Some(answer.map_err(|error| format!("its first document is refused: {error}"))?);
    }
    let answer = write(server, last, stored.as_ref()).await;
    delete(server, last).await;
    match answer {
        Ok(_) => Err("is accepted".to_owned()),
        Err(Error::Api(status)) => said_as_expected(&manifest.expected, &status),
        Err(error) => Err(error.to_string()),
    }
}

/// Creates the object, or replaces what is stored; fields that the schema doesn't know are refused. Unlike server-side
/// apply, which stops at the first field of a wrong type, this says everything that is wrong.
async fn write(
    server: &ApiServer,
    object: &DynamicObject,
    stored: Option<&DynamicObject>,
) -> Result<DynamicObject, Error> {
    let collection = api(server, kind(object)).resource_url().to_owned();
    let mut object = object.clone();
    let request = match stored {
        None => http::Request::post(format!("{collection}?fieldValidation=Strict")),
        Some(stored) => {
            object.metadata.resource_version = stored.resource_version();
            http::Request::put(format!("{collection}/{}?fieldValidation=Strict", object.name_any()))
        }
    };
    let body = serde_json::to_vec(&object).unwrap();
    server.client.request(request.header("content-type", "application/json").body(body).unwrap()).await
}

/// Whether each thing that the server says is expected, and each expected thing is said.
fn said_as_expected(expected: &[String], status: &Status) -> Result<(), String> {
    const FOLLOWS: &str = "some validation rules were not checked because the object was invalid";
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut said: Vec<_> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    if said.is_empty() {
        said.push(status.message.clone());
    }
    said.retain(|said| !said.contains(FOLLOWS));
    let missing = expected.iter().find(|expected| !said.iter().any(|said| said.contains(expected.as_str())));
    let unexpected =
        said.iter().find(|said| !expected.iter().any(|expected| said.contains(expected.as_str())));
    if expected.is_empty() || missing.is_some() || unexpected.is_some() {
        return Err(format!("expected {expected:#?}, the server says {said:#?}"));
    }
    Ok(())
}

fn workspace(name: &str, spec: &Value) -> DynamicObject {
    let json = json!({
        "apiVersion": "lodge.dev/v1alpha1",
        "kind": "Workspace",
        "metadata": { "name": name },
        "spec": spec,
    });
    serde_json::from_value(json).unwrap()
}

fn ensure(holds: bool, failure: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{failure:?}")) }
}

async fn named_items_are_merged(server: &ApiServer) -> Result<(), String> {
    let variable = |name: &str| workspace("merged", &json!({ "env": [{ "name": name, "value": "1" }] }));
    apply(server, &variable("A"), "one").await.unwrap();
    let both = apply(server, &variable("B"), "two").await.unwrap();
    let none = apply(server, &workspace("merged", &json!({})), "one").await.unwrap();
    delete(server, &both).await;
    ensure(both.data["spec"]["env"].as_array().map(Vec::len) == Some(2), &both.data["spec"]["env"])?;
    ensure(none.data["spec"]["env"] == json!([{ "name": "B", "value": "1" }]), &none.data["spec"]["env"])
}

async fn fields_select(server: &ApiServer) -> Result<(), String> {
    for (name, power) in [("selected", "Asleep"), ("other", "Auto")] {
        let mut object = workspace(name, &json!({ "power": power }));
        apply(server, &object, "test").await.unwrap();
        object.data["status"] =
            json!({ "power": power.replace("Auto", "Awake"), "runner": { "name": name, "epoch": 1 } });
        apply_status(server, &object).await.unwrap();
    }
    let mut result = Ok(());
    for selector in [
        "spec.power=Asleep",
        "status.power=Asleep",
        "status.runner.name=selected",
        "spec.isolation!=Dedicated",
    ] {
        let list = api(server, "Workspace").list(&ListParams::default().fields(selector)).await.unwrap();
        let names: Vec<_> = list.iter().map(ResourceExt::name_any).filter(|name| name != "other").collect();
        let others = list.items.len() - names.len();
        let expected = usize::from(selector.contains('!'));
        result = result.and(ensure(names == ["selected"] && others == expected, (selector, names, others)));
    }
    for name in ["selected", "other"] {
        delete(server, &workspace(name, &json!({}))).await;
    }
    result
}

async fn columns_are_shown(server: &ApiServer) -> Result<(), String> {
    let mut object = workspace("columns", &json!({}));
    apply(server, &object, "test").await.unwrap();
    object.data["status"] = json!({
        "power": "Asleep",
        "software": "common, pi",
        "runner": { "name": "lodge-runner-0", "epoch": 1 },
        "conditions": [{
            "type": "Ready",
            "status": "True",
            "reason": "Bound",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    });
    apply_status(server, &object).await.unwrap();
    let request = http::Request::get(format!(
        "/apis/lodge.dev/v1alpha1/namespaces/{}/workspaces/columns",
        server.namespace
    ))
    .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
    .body(Vec::new())
    .unwrap();
    let table: Value = server.client.request(request).await.unwrap();
    delete(server, &object).await;
    let names: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    ensure(names == ["Name", "Ready", "Power", "Runner", "Software", "Age"], names)?;
    ensure(
        cells[..5] == ["columns", "True", "Asleep", "lodge-runner-0", "common, pi"].map(Value::from),
        cells,
    )
}

async fn null_becomes_the_default(server: &ApiServer) -> Result<(), String> {
    let object = workspace("null", &json!({ "power": null, "limits": { "cpu": null }, "idle": null }));
    let created = api(server, "Workspace").create(&PostParams::default(), &object).await;
    delete(server, &object).await;
    let spec = created.map_err(|error| error.to_string())?.data["spec"].take();
    ensure(
        spec["power"] == "Auto" && spec["limits"]["cpu"] == "1" && spec["idle"]["sleepAfter"] == "15m",
        spec,
    )
}

async fn a_new_object_is_unobserved(server: &ApiServer) -> Result<(), String> {
    let object = workspace("unobserved", &json!({}));
    apply(server, &object, "test").await.map_err(|error| error.to_string())?;
    let read = api(server, "Workspace").get("unobserved").await;
    delete(server, &object).await;
    let status = read.map_err(|error| error.to_string())?.data["status"].take();
    ensure(status == json!({ "observedGeneration": -1 }), status)
}

/// Objects with everything that the lists allow, or nearly so much as a request may hold. Rules are paid for by the number
/// of comparisons that really happen; too many of them would refuse what the schema allows.
async fn the_largest_are_accepted(server: &ApiServer) -> Result<(), String> {
    let list = |count: usize, item: &dyn Fn(usize) -> Value| (0..count).map(item).collect::<Value>();
    let spec = json!({
        "software": list(32, &|i| json!({ "name": format!("package-{i}") })),
        "env": list(256, &|i| json!({ "name": format!("{}{i}", "V".repeat(124)), "value": "x".repeat(1000) })),
        "sandboxes": list(8, &|i| json!({
            "name": format!("sandbox-{i}"),
            "docker": { "image": "debian", "env": list(128, &|i| json!({ "name": format!("A{i}"), "value": "x" })) },
        })),
        "mounts": list(64, &|i| json!({
            "path": format!("/{}/{i}", "p".repeat(4000)),
            "sandbox": { "name": format!("sandbox-{}", i % 8) },
        })),
        "network": { "egress": { "allow": list(256, &|i| json!({
            "host": format!("{}.h{i}.example.com", "a".repeat(63)),
            "ports": (1..=32).collect::<Value>(),
        })) } },
        "tools": list(16, &|i| json!({
            "name": format!("toolkit-{i}"),
            "tools": list(32, &|i| json!({
                "name": format!("tool-{i}"),
                "timeout": "1m30s",
                "http": { "url": format!("https://example.com/{}", "u".repeat(500)), "headersFrom": [{ "secretRef": { "name": "s" } }] },
            })),
        })),
    });
    let object = workspace("largest", &spec);
    let created = write(server, &object, None).await.map_err(|error| error.to_string())?;
    let replaced = write(server, &object, Some(&created)).await.map_err(|error| error.to_string());
    delete(server, &object).await;
    replaced?;

    let session = |prompts: usize| {
        let mut object = workspace(
            "largest",
            &json!({
                "workspaceRef": { "name": "ada" },
                "agent": { "name": "pi" },
                "prompts": list(prompts, &|i| json!({ "id": format!("{}{i}", "p".repeat(60)), "text": format!("{i}{}", "x".repeat(10_000)) })),
            }),
        );
        object.types.as_mut().unwrap().kind = "Session".to_owned();
        object
    };
    let created = write(server, &session(99), None).await.map_err(|error| error.to_string())?;
    let replaced = write(server, &session(100), Some(&created)).await.map_err(|error| error.to_string());
    delete(server, &session(0)).await;
    replaced.map(drop)
}
