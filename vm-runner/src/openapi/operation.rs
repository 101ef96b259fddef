//! One operation of the document, put together piece by piece.

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use vm_api::area::Area;
use vm_api::{ProblemCode, route};

use super::path_of;

type MakeSchema = fn(&mut SchemaGenerator) -> Value;

/// What travels in a body.
struct Content {
    media_type: &'static str,
    schema: MakeSchema,
    example: Option<Value>,
    /// Whether the example is one.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests read all examples"))]
    check: fn(&Value) -> Result<(), serde_json::Error>,
}

struct Answer {
    status: u16,
    description: &'static str,
    contents: Vec<Content>,
}

struct Parameter {
    place: &'static str,
    name: &'static str,
    schema: Value,
    description: &'static str,
}

/// A method of a route.
pub(super) struct Operation {
    path: String,
    /// What the route is about, if it is that of a workspace.
    pub(super) area: Option<Area>,
    method: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: String,
    parameters: Vec<Parameter>,
    body: Vec<Content>,
    answers: Vec<Answer>,
    problems: Vec<ProblemCode>,
    messages: Vec<Content>,
}

/// Problems that every request to a workspace may get.
const WORKSPACE_PROBLEMS: [ProblemCode; 10] = [
    ProblemCode::WorkspaceNotFound,
    ProblemCode::WorkspaceAsleep,
    ProblemCode::WorkspaceDeleting,
    ProblemCode::BootFailed,
    ProblemCode::BootTimeout,
    ProblemCode::VmDied,
    ProblemCode::LimitWorkspaceRequests,
    ProblemCode::LimitRunnerRequests,
    ProblemCode::Forbidden,
    ProblemCode::Internal,
];

fn schema_of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

fn bytes(_: &mut SchemaGenerator) -> Value {
    json!({})
}

fn text(_: &mut SchemaGenerator) -> Value {
    json!({"type": "string"})
}

fn document<T: JsonSchema + DeserializeOwned>(media_type: &'static str, example: Value) -> Content {
    let check = |example: &Value| T::deserialize(example).map(drop);
    Content { media_type, schema: schema_of::<T>, example: Some(example), check }
}

fn opaque(media_type: &'static str, schema: MakeSchema) -> Content {
    Content { media_type, schema, example: None, check: |_| Ok(()) }
}

impl Operation {
    /// An operation of an area of a workspace.
    pub(super) fn of(
        area: Area,
        method: &'static str,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        let path = format!("{}/{{uid}}/{}", route::WORKSPACES, path_of(area));
        let mut operation = Self::at(path, method, id, tag, summary).problems(&WORKSPACE_PROBLEMS);
        operation.area = Some(area);
        operation
    }

    /// An operation of another route.
    pub(super) fn at(
        path: impl Into<String>,
        method: &'static str,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            path: path.into(),
            area: None,
            method,
            id,
            tag,
            summary,
            description: String::new(),
            parameters: Vec::new(),
            body: Vec::new(),
            answers: Vec::new(),
            problems: vec![ProblemCode::MethodNotAllowed],
            messages: Vec::new(),
        }
    }

    pub(super) fn about(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    fn parameter(
        mut self,
        place: &'static str,
        name: &'static str,
        schema: Value,
        description: &'static str,
    ) -> Self {
        self.parameters.push(Parameter { place, name, schema, description });
        self
    }

    /// A switch of the query: present, or `=true`.
    pub(super) fn switch(self, name: &'static str, description: &'static str) -> Self {
        self.parameter("query", name, json!({"type": "string", "enum": ["", "true", "false"]}), description)
    }

    pub(super) fn number(self, name: &'static str, most: u64, description: &'static str) -> Self {
        let schema = json!({"type": "integer", "minimum": 0, "maximum": most});
        self.parameter("query", name, schema, description)
    }

    pub(super) fn query(self, name: &'static str, description: &'static str) -> Self {
        self.parameter("query", name, json!({"type": "string"}), description)
    }

    pub(super) fn header(self, name: &'static str, description: &'static str) -> Self {
        self.parameter("header", name, json!({"type": "string"}), description)
    }

    /// `If-Match` and `If-None-Match`.
    pub(super) fn conditional(self) -> Self {
        self.header("If-Match", "Do it only if the file has one of these entity tags, or exists (`*`).")
            .header(
                "If-None-Match",
                "Do it only if the file has none of these entity tags, or does not exist (`*`).",
            )
            .problems(&[ProblemCode::PreconditionFailed])
    }

    /// Where a stream is resumed.
    pub(super) fn resumable(self) -> Self {
        self.number("after", u64::MAX, "Go on after this sequence number.")
            .header("Last-Event-ID", "The same, as browsers send it.")
    }

    /// Takes a JSON document.
    pub(super) fn takes<T: JsonSchema + DeserializeOwned>(mut self, example: Value) -> Self {
        self.body.push(document::<T>("application/json", example));
        self.problems(&[ProblemCode::MalformedJson, ProblemCode::InvalidRequest, ProblemCode::BodyTooLarge])
    }

    /// Takes bytes of any length.
    pub(super) fn takes_bytes(mut self, media_type: &'static str) -> Self {
        self.body.push(opaque(media_type, bytes));
        self.problems(&[ProblemCode::BodyIncomplete, ProblemCode::BodyTooLarge])
    }

    /// Answers nothing but a status.
    pub(super) fn answers(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push(Answer { status, description, contents: Vec::new() });
        self
    }

    fn content(mut self, status: u16, description: &'static str, content: Content) -> Self {
        match self.answers.iter_mut().find(|answer| answer.status == status) {
            Some(answer) => answer.contents.push(content),
            None => self.answers.push(Answer { status, description, contents: vec![content] }),
        }
        self
    }

    /// Answers a JSON document.
    pub(super) fn json<T: JsonSchema + DeserializeOwned>(
        self,
        status: u16,
        description: &'static str,
        example: Value,
    ) -> Self {
        self.content(status, description, document::<T>("application/json", example))
    }

    /// Answers a stream of server-sent events whose data are these documents.
    pub(super) fn events<T: JsonSchema + DeserializeOwned>(
        self,
        description: &'static str,
        example: Value,
    ) -> Self {
        self.content(200, description, document::<T>("text/event-stream", example))
    }

    /// Another document that is answered with a status, beside the first.
    pub(super) fn alternative<T: JsonSchema + DeserializeOwned>(
        mut self,
        status: u16,
        example: Value,
    ) -> Self {
        if let Some(answer) = self.answers.iter_mut().find(|answer| answer.status == status) {
            answer.contents.push(document::<T>("application/json", example));
        }
        self
    }

    /// A document that travels in messages of a WebSocket.
    pub(super) fn defines<T: JsonSchema + DeserializeOwned>(mut self, example: Value) -> Self {
        self.messages.push(document::<T>("application/json", example));
        self
    }

    pub(super) fn bytes(self, status: u16, media_type: &'static str, description: &'static str) -> Self {
        self.content(status, description, opaque(media_type, bytes))
    }

    pub(super) fn text(self, media_type: &'static str, description: &'static str) -> Self {
        self.content(200, description, opaque(media_type, text))
    }

    /// Adds codes of problems that it may answer.
    pub(super) fn problems(mut self, codes: &[ProblemCode]) -> Self {
        self.problems.extend(codes);
        self
    }

    #[cfg(test)]
    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    /// Every example that cannot be read as what it is an example of.
    #[cfg(test)]
    pub(super) fn wrong_examples(&self) -> Vec<String> {
        let answers = self.answers.iter().flat_map(|answer| &answer.contents);
        let wrong = |content: &Content| {
            let error = (content.check)(content.example.as_ref()?).err()?;
            Some(format!("{}: {error}: {:?}", self.id, content.example))
        };
        self.body.iter().chain(answers).chain(&self.messages).filter_map(wrong).collect()
    }

    /// Path, method and description.
    pub(super) fn describe(self, schemas: &mut SchemaGenerator) -> (String, String, Value) {
        let Self { path, area: _, method, id, tag, summary, description, parameters, body, answers, .. } =
            self;
        let (mut problems, messages) = (self.problems, self.messages);
        problems.sort_by_key(|code| (code.status(), code.as_str()));
        problems.dedup();
        let mut value = json!({
            "operationId": id,
            "tags": [tag],
            "summary": summary,
            "parameters": path_parameters(&path).chain(parameters.iter().map(describe_parameter)).collect::<Vec<_>>(),
            "responses": describe_answers(answers, &problems, schemas),
        });
        if !description.is_empty() {
            value["description"] = Value::String(description);
        }
        if !messages.is_empty() {
            // OpenAPI has no words for messages; their schemas are in the components.
            let messages = messages.into_iter().map(
                |Content { schema, example, .. }| json!({"schema": schema(schemas), "example": example}),
            );
            value["x-messages"] = messages.collect();
        }
        if !body.is_empty() {
            value["requestBody"] = json!({"required": true, "content": describe_contents(body, schemas)});
        }
        (path, method.to_ascii_lowercase(), value)
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = Value> {
    let names = path.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name));
    names.map(|name| {
        let description = match name {
            "uid" => "The workspace.",
            "path" => "A path in the VM without its first slash; other bytes than letters, digits and `-._~:@+,=/` percent-encoded. Slashes stay as they are.",
            "pid" => "A process in the VM.",
            "name" => "A run: a DNS label.",
            _ => "A shell.",
        };
        let kind = if name == "pid" { "integer" } else { "string" };
        json!({"in": "path", "name": name, "required": true, "schema": {"type": kind}, "description": description})
    })
}

fn describe_parameter(parameter: &Parameter) -> Value {
    let Parameter { place, name, schema, description } = parameter;
    json!({"in": place, "name": name, "schema": schema, "description": description})
}

/// Contents by media type; several of one type are alternatives.
fn describe_contents(contents: Vec<Content>, schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let mut described: Map<String, Value> = Map::new();
    for Content { media_type, schema, example, check: _ } in contents {
        let mut schema = schema(schemas);
        let mut examples = Map::new();
        if let Some(Value::Object(before)) = described.remove(media_type) {
            schema = json!({"oneOf": [before.get("schema"), schema]});
            examples.extend(before.get("examples").and_then(Value::as_object).cloned().unwrap_or_default());
        }
        let mut value = json!({"schema": schema});
        if let Some(example) = example {
            examples.insert(format!("example{}", examples.len() + 1), json!({"value": example}));
            value["examples"] = Value::Object(examples);
        }
        described.insert(media_type.to_owned(), value);
    }
    described
}

fn describe_answers(
    answers: Vec<Answer>,
    problems: &[ProblemCode],
    schemas: &mut SchemaGenerator,
) -> Map<String, Value> {
    let mut responses = Map::new();
    for Answer { status, description, contents } in answers {
        let mut value = json!({"description": description});
        if !contents.is_empty() {
            value["content"] = Value::Object(describe_contents(contents, schemas));
        }
        responses.insert(status.to_string(), value);
    }
    let mut statuses: Vec<u16> = problems.iter().map(|code| code.status()).collect();
    statuses.dedup();
    for status in statuses {
        let codes: Vec<_> = problems.iter().filter(|code| code.status() == status).collect();
        let names: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
        responses.insert(
            status.to_string(),
            json!({
                "description": format!("Problem: {}.", names.join(", ")),
                "content": {vm_api::problem::MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                "x-problem-codes": codes.iter().map(|code| code.as_str()).collect::<Vec<_>>(),
            }),
        );
    }
    responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/Problem"}));
    responses
}
