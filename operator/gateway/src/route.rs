//! What a request asks for: which workspace, and which permission it needs there.
//!
//! The path decides, as it was sent: nothing is decoded or normalised before it is matched, so that what was authorised
//! here is what the runner matches there.

use http::{Method, StatusCode};
use vm_api::{ProblemCode, route};

use crate::problem::Refusal;

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// What follows the workspace in the path, percent-encoding kept.
    pub(crate) area: &'a str,
    pub(crate) action: Action,
}

/// What somebody wants to do with a workspace, as RBAC knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Run a command.
    Exec,
    /// Read files.
    ReadFiles,
    /// Write files.
    WriteFiles,
}

impl Action {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Exec => "create",
            Self::ReadFiles => "get",
            Self::WriteFiles => "update",
        }
    }

    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::ReadFiles | Self::WriteFiles => "files",
        }
    }
}

/// The areas that exist, for people who look for one.
const AREAS: &str = "POST exec, GET/PUT/DELETE files/{path}, POST files:mkdir, POST files:move";
/// Longest DNS label, which the names of namespaces and of workspaces are.
const LABEL_LEN: usize = 63;

/// Understands a request's method and path.
pub(crate) fn parse<'a>(method: &Method, path: &'a str) -> Result<Call<'a>, Refusal> {
    let Some((namespace, name, area)) = route::split_gateway_path(path) else {
        return Err(Refusal::new(
            ProblemCode::RouteNotFound,
            format!(
                "there is no route {}: paths start with /v1/namespaces/{{namespace}}/workspaces/{{name}}/ and go on \
                 with one of: {AREAS}",
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
    let action = action(method, area)?;
    Ok(Call { namespace, name, area, action })
}

fn action(method: &Method, area: &str) -> Result<Action, Refusal> {
    if area == route::EXEC {
        return if method == Method::POST {
            Ok(Action::Exec)
        } else {
            Err(wrong_method(method, area, "POST"))
        };
    }
    if area == route::FILES || area.strip_prefix(route::FILES).is_some_and(|rest| rest.starts_with('/')) {
        return match *method {
            Method::GET | Method::HEAD => Ok(Action::ReadFiles),
            Method::PUT | Method::DELETE | Method::POST | Method::PATCH => Ok(Action::WriteFiles),
            _ => Err(wrong_method(method, "files/{path}", "GET, HEAD, PUT or DELETE")),
        };
    }
    if area == route::MKDIR || area == route::MOVE {
        return if method == Method::POST {
            Ok(Action::WriteFiles)
        } else {
            Err(wrong_method(method, area, "POST"))
        };
    }
    let detail = if area.is_empty() {
        format!("the path ends after the workspace: add one of: {AREAS}")
    } else {
        format!("a workspace has no area {}; there are: {AREAS}", shorten(area))
    };
    Err(Refusal::new(ProblemCode::RouteNotFound, detail))
}

fn wrong_method(method: &Method, area: &str, allowed: &str) -> Refusal {
    Refusal::new(
        ProblemCode::MethodNotAllowed,
        format!("{} does not take {}: use {allowed}", shorten(area), shorten(method.as_str())),
    )
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
    use super::*;

    const BASE: &str = "/v1/namespaces/team-a/workspaces/ada";

    fn action_of(method: Method, area: &str) -> Result<Action, u16> {
        parse(&method, &format!("{BASE}/{area}"))
            .map(|call| call.action)
            .map_err(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn a_request_names_its_workspace_and_the_permission_it_needs() {
        let call = Call { namespace: "team-a", name: "ada", area: "exec", action: Action::Exec };
        assert_eq!(parse(&Method::POST, &format!("{BASE}/exec")).unwrap(), call);
    }

    #[test]
    fn reading_files_and_writing_files_are_different_permissions() {
        for (method, area, action) in [
            (Method::GET, "files/a/b", Action::ReadFiles),
            (Method::HEAD, "files", Action::ReadFiles),
            (Method::PUT, "files/a", Action::WriteFiles),
            (Method::DELETE, "files/a", Action::WriteFiles),
            (Method::POST, "files:mkdir", Action::WriteFiles),
            (Method::POST, "files:move", Action::WriteFiles),
        ] {
            assert_eq!(action_of(method.clone(), area), Ok(action), "{method} {area}");
        }
    }

    #[test]
    fn what_has_no_route_is_told_which_routes_there_are() {
        for area in ["", "nope", "filesystem", "%65xec", "exec/", "Exec"] {
            assert_eq!(action_of(Method::POST, area), Err(404), "{area:?}");
        }
        let refusal = parse(&Method::POST, &format!("{BASE}/nope")).unwrap_err();
        assert!(refusal.problem().detail.contains("POST exec"), "{}", refusal.problem().detail);
        assert_eq!(parse(&Method::GET, "/v2/x").unwrap_err().status().as_u16(), 404);
    }

    #[test]
    fn actions_on_files_that_no_runner_serves_go_no_further() {
        for area in
            ["files:copy", "files:batchRead", "files:archive", "files:", "files:mkdir/x", "files:Move"]
        {
            assert_eq!(action_of(Method::POST, area), Err(404), "{area}");
            let refusal = parse(&Method::POST, &format!("{BASE}/{area}")).unwrap_err();
            assert!(refusal.problem().is(ProblemCode::RouteNotFound), "{area}");
            assert!(refusal.problem().detail.ends_with(AREAS), "{}", refusal.problem().detail);
        }
        assert!(!AREAS.contains("copy") && !AREAS.contains("batch") && !AREAS.contains("archive"));
    }

    #[test]
    fn a_method_that_a_route_does_not_take_is_refused() {
        assert_eq!(action_of(Method::GET, "files:mkdir"), Err(405));
        assert_eq!(action_of(Method::GET, "exec"), Err(405));
        assert_eq!(action_of(Method::TRACE, "files/x"), Err(405));
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
        assert!(refusal.problem().detail.len() < 600);
    }
}
