//! What a request asks for: which workspace, what of it, and which permission it needs there.
//!
//! The path decides, as it was sent: nothing is decoded or normalised before it is matched, so that what was authorised
//! here is what the runner matches there; both read it with [`vm_api::area`].

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, Method, StatusCode};
use vm_api::area::{Area, AreaError, Permission, ProcessAction, RunAction, ShellAction};
use vm_api::{ProblemCode, route};

use crate::problem::Refusal;

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// What follows the workspace in the path, percent-encoding kept.
    pub(crate) path: &'a str,
    pub(crate) area: Area,
    pub(crate) permission: Permission,
}

/// How large a request's body may be, and how it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// A JSON document.
    Document,
    /// As much as the workspace has room for.
    Upload,
    /// The same, from somebody who may think between two bytes.
    Interactive,
}

/// The areas that exist, for people who look for one.
const AREAS: &str = "exec, files/{path}, files:mkdir, files:move, files:copy, files:link, files:batchRead, \
                     files:batchWrite, files:archive, files:fsck, processes, processes/{pid}, shells, shells/{id}, runs, \
                     events, wake, sleep, health";
/// Longest DNS label, which the names of namespaces and of workspaces are.
const LABEL_LEN: usize = 63;

/// Understands a request's method and path.
pub(crate) fn parse<'a>(method: &Method, path: &'a str) -> Result<Call<'a>, Refusal> {
    let Some((namespace, name, rest)) = route::split_gateway_path(path) else {
        return Err(Refusal::new(
            ProblemCode::RouteNotFound,
            format!(
                "there is no route {}: paths start with /v1/namespaces/{{namespace}}/workspaces/{{name}}/ and go on \
                 with one of: {AREAS}; see GET /openapi.json",
                shorten(path)
            ),
        ));
    };
    if !is_dns_label(namespace) {
        return Err(invalid_name("namespace", namespace));
    }
    if !is_dns_label(name) {
        return Err(invalid_name("workspace", name));
    }
    let area = Area::parse(rest, method.as_str()).map_err(|error| match error {
        AreaError::NotFound => no_area(rest),
        AreaError::Method(allowed) => wrong_method(method, rest, allowed),
    })?;
    let permission = area.permission(method.as_str()).ok_or_else(|| {
        Refusal::new(
            ProblemCode::Forbidden,
            "runs are begun and stopped by the operator only: create a CronJob (cronjobs.lodge.dev), or use POST exec",
        )
    })?;
    Ok(Call { namespace, name, path: rest, area, permission })
}

impl Call<'_> {
    /// What may come as a body.
    pub(crate) fn body_kind(&self) -> BodyKind {
        match self.area {
            Area::File | Area::Archive | Area::BatchWrite => BodyKind::Upload,
            Area::Process(ProcessAction::Stdin) => BodyKind::Interactive,
            Area::Exec
            | Area::Processes
            | Area::Process(_)
            | Area::Shells
            | Area::Shell(_)
            | Area::Runs
            | Area::Run(_)
            | Area::Events
            | Area::Mkdir
            | Area::Move
            | Area::Copy
            | Area::Link
            | Area::BatchRead
            | Area::Fsck
            | Area::Health
            | Area::Wake
            | Area::Sleep => BodyKind::Document,
        }
    }

    /// Whether the route is a WebSocket.
    pub(crate) fn is_websocket(&self) -> bool {
        self.area == Area::Shell(ShellAction::Attach)
    }

    /// Whether somebody can look at it later, and loses nothing when it ends now: reading changes nothing.
    pub(crate) fn only_reads(&self, method: &Method) -> bool {
        method.is_safe() || matches!(self.area, Area::BatchRead | Area::Fsck)
    }

    /// Whether doing it twice is the same as doing it once, so that it can be sent again after a connection broke in the
    /// middle. A write with a condition is not: the second would be refused because of the first.
    pub(crate) fn is_idempotent(&self, method: &Method, headers: &HeaderMap, query: Option<&str>) -> bool {
        if self.is_websocket() {
            return true;
        }
        let is_conditional = headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH);
        match self.area {
            Area::Wake | Area::Sleep => true,
            Area::File if *method == Method::PUT || *method == Method::DELETE => {
                let appends = |query: &str| query.split('&').any(|pair| pair.starts_with("append"));
                !is_conditional && !query.is_some_and(appends)
            }
            Area::Shell(ShellAction::Item | ShellAction::Resize) => true,
            Area::Run(RunAction::Show) => true,
            _ => self.only_reads(method),
        }
    }
}

fn no_area(area: &str) -> Refusal {
    let detail = if area.is_empty() {
        format!("the path ends after the workspace: add one of: {AREAS}; see GET /openapi.json")
    } else {
        format!("a workspace has no area {}; there are: {AREAS}; see GET /openapi.json", shorten(area))
    };
    Refusal::new(ProblemCode::RouteNotFound, detail)
}

fn wrong_method(method: &Method, area: &str, allowed: &'static str) -> Refusal {
    Refusal::new(
        ProblemCode::MethodNotAllowed,
        format!("{} does not take {}: use {allowed}", shorten(area), shorten(method.as_str())),
    )
    .with_allow(allowed)
}

fn invalid_name(what: &str, name: &str) -> Refusal {
    Refusal::new(
        ProblemCode::InvalidRequest,
        format!(
            "{} cannot be the name of a {what}: use at most {LABEL_LEN} lower case letters, digits and -",
            shorten(name)
        ),
    )
    .with_status(StatusCode::BAD_REQUEST)
}

/// Whether `name` is a DNS label, as Kubernetes wants it.
fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= LABEL_LEN
        && name.bytes().all(|byte| inner(byte) || byte == b'-')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().next_back().is_some_and(inner)
}

/// The beginning of a text from outside, quoted, for an error.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 64;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    format!("{:?}…", text.chars().take(SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const BASE: &str = "/v1/namespaces/team-a/workspaces/ada";

    fn status_of(method: Method, area: &str) -> u16 {
        parse(&method, &format!("{BASE}/{area}")).map_or_else(|refusal| refusal.status().as_u16(), |_| 200)
    }

    #[test]
    fn a_request_names_its_workspace_and_the_permission_it_needs() {
        let permission = Permission { verb: "create", subresource: "exec" };
        let call = Call { namespace: "team-a", name: "ada", path: "exec", area: Area::Exec, permission };
        assert_eq!(parse(&Method::POST, &format!("{BASE}/exec")).unwrap(), call);
    }

    #[test]
    fn what_has_no_route_is_told_which_routes_there_are() {
        for area in ["", "nope", "filesystem", "%65xec", "exec/", "Exec", "files:", "files:Move", "proxy/80/"]
        {
            assert_eq!(status_of(Method::POST, area), 404, "{area:?}");
        }
        let refusal = parse(&Method::POST, &format!("{BASE}/nope")).unwrap_err();
        assert!(refusal.problem().detail.contains("exec, files/{path}"), "{}", refusal.problem().detail);
        assert_eq!(parse(&Method::GET, "/v2/x").unwrap_err().status().as_u16(), 404);
    }

    #[test]
    fn a_method_that_a_route_does_not_take_is_refused_with_those_that_it_takes() {
        assert_eq!(status_of(Method::GET, "files:mkdir"), 405);
        assert_eq!(status_of(Method::TRACE, "files/x"), 405);
        let refusal = parse(&Method::GET, &format!("{BASE}/exec")).unwrap_err();
        assert_eq!(refusal.into_response().headers()["allow"], "POST");
    }

    #[test]
    fn a_run_is_the_operators_and_everybody_else_is_told_what_to_do_instead() {
        assert_eq!(status_of(Method::GET, "runs/a"), 200);
        let refusal = parse(&Method::PUT, &format!("{BASE}/runs/a")).unwrap_err();
        assert_eq!(refusal.status(), 403);
        assert!(refusal.problem().detail.contains("CronJob"), "{}", refusal.problem().detail);
        assert_eq!(status_of(Method::POST, "runs/a/stop"), 403);
    }

    #[test]
    fn names_that_kubernetes_would_not_take_go_no_further() {
        for (namespace, name) in [
            ("Team", "ada"),
            ("a.b", "ada"),
            ("..", "ada"),
            ("a", ".."),
            ("a", "-x"),
            ("a", "x%2fy"),
            ("a", "x.y"),
            ("a", "ä"),
        ] {
            let path = format!("/v1/namespaces/{namespace}/workspaces/{name}/exec");
            assert_eq!(parse(&Method::POST, &path).unwrap_err().status().as_u16(), 400, "{path}");
        }
        assert!(parse(&Method::POST, "/v1/namespaces/a/workspaces/x--y-1/exec").is_ok());
    }

    #[test]
    fn long_texts_from_outside_are_shortened_in_errors() {
        let refusal = parse(&Method::POST, &format!("/{}", "x".repeat(10_000))).unwrap_err();
        assert!(refusal.problem().detail.len() < 900);
    }

    #[test]
    fn what_can_be_done_twice_without_harm_is_known() {
        for (method, area, query, condition, expected) in [
            ("GET", "files/a", None, None, true),
            ("HEAD", "files/a", Some("stat"), None, true),
            ("PUT", "files/a", None, None, true),
            ("PUT", "files/a", Some("mode=644&append"), None, false),
            ("PUT", "files/a", Some("offset=9"), None, true),
            ("PUT", "files/a", None, Some("if-match"), false),
            ("DELETE", "files/a", None, None, true),
            ("PATCH", "files/a", None, None, false),
            ("POST", "files:batchRead", None, None, true),
            ("POST", "files:move", None, None, false),
            ("PUT", "files:archive", None, None, false),
            ("POST", "exec", None, None, false),
            ("POST", "processes", None, None, false),
            ("POST", "processes/1/kill", None, None, false),
            ("POST", "processes/1/stdin", None, None, false),
            ("GET", "shells/a/attach", None, None, true),
            ("DELETE", "shells/a", None, None, true),
            ("POST", "wake", None, None, true),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let path = format!("{BASE}/{area}");
            let mut headers = HeaderMap::new();
            if let Some(name) = condition {
                headers.insert(name, HeaderValue::from_static("\"e\""));
            }
            let call = parse(&method, &path).unwrap();
            assert_eq!(call.is_idempotent(&method, &headers, query), expected, "{method} {area} {query:?}");
        }
    }
}
