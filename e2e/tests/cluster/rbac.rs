//! Who may do what, for every verb there is: the gateway does what `kubectl auth can-i` says, and nothing else.

use anyhow::{Context, Result};
use e2e::{
    cluster::Cluster,
    gateway::{Door, Identity, whole},
    namespace::Namespace,
    user::User,
};
use http_body_util::BodyExt;

/// A permission on the virtual subresources of Workspaces, and requests that need it.
struct Permission {
    subresource: &'static str,
    verb: &'static str,
    /// Method, what follows the workspace in the path, body. None of them changes much or is missed.
    requests: &'static [(&'static str, &'static str, &'static str)],
}

/// A process and a shell that are not there: whoever is let in gets 404.
const PERMISSIONS: &[Permission] = &[
    Permission {
        subresource: "exec",
        verb: "create",
        requests: &[("POST", "exec", r#"{"command":"true"}"#)],
    },
    Permission {
        subresource: "files",
        verb: "get",
        requests: &[
            ("GET", "files/home/agent/f", ""),
            ("HEAD", "files/home/agent/f", ""),
            ("GET", "files/home/agent/f?stat", ""),
            ("GET", "files/home/agent?list", ""),
            ("POST", "files:batchRead", r#"{"files":[{"path":"/home/agent/f"}]}"#),
            ("GET", "files:archive?path=/home/agent", ""),
        ],
    },
    Permission {
        subresource: "files",
        verb: "update",
        requests: &[
            ("PUT", "files/home/agent/g", "x"),
            ("DELETE", "files/home/agent/nothing", ""),
            ("POST", "files:mkdir", r#"{"path":"/home/agent/d","parents":true}"#),
            ("POST", "files:move", r#"{"from":"/home/agent/nothing","to":"/home/agent/h"}"#),
            ("POST", "files:copy", r#"{"from":"/home/agent/nothing","to":"/home/agent/h"}"#),
            ("POST", "files:batchWrite", r#"{"files":[]}"#),
            ("POST", "files:fsck", ""),
        ],
    },
    Permission {
        subresource: "processes",
        verb: "get",
        requests: &[
            ("GET", "processes", ""),
            ("GET", "processes/99999", ""),
            ("GET", "processes/99999/output", ""),
        ],
    },
    Permission {
        subresource: "processes",
        verb: "create",
        requests: &[("POST", "processes", r#"{"command":"true"}"#)],
    },
    Permission {
        subresource: "processes",
        verb: "update",
        requests: &[("POST", "processes/99999/kill", "{}"), ("POST", "processes/99999/stdin", "x")],
    },
    Permission {
        subresource: "shells",
        verb: "get",
        requests: &[("GET", "shells", ""), ("GET", "shells/nobody", "")],
    },
    Permission {
        subresource: "shells",
        verb: "create",
        requests: &[("POST", "shells", r#"{"command":"true"}"#)],
    },
    Permission {
        subresource: "shells",
        verb: "update",
        requests: &[("POST", "shells/nobody/resize", r#"{"cols":80,"rows":24}"#)],
    },
    Permission { subresource: "shells", verb: "delete", requests: &[("DELETE", "shells/nobody", "")] },
    Permission { subresource: "events", verb: "get", requests: &[("GET", "events", "")] },
    Permission { subresource: "power", verb: "get", requests: &[("GET", "health", "")] },
    Permission {
        subresource: "power",
        verb: "update",
        requests: &[("POST", "wake", ""), ("POST", "sleep", "")],
    },
    Permission { subresource: "runs", verb: "get", requests: &[("GET", "runs", "")] },
];

/// What became of a request: whether it was let in, and the answer in short.
struct Answer {
    status: u16,
    problem: String,
}

/// Sends a request as somebody and reads the head of the answer; of a refusal also the body.
async fn knock(door: &Door, token: &str, base: &str, request: (&str, &str, &str)) -> Result<Answer> {
    let (method, area, body) = request;
    let mut client = door.client(&Identity::Token(token.to_owned())).await?;
    let head = client.request(method, &format!("{base}/{area}"));
    let response = client.open(head, whole(body.to_owned())).await?;
    let status = response.status().as_u16();
    let problem = if status < 400 {
        String::new()
    } else {
        String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned()
    };
    Ok(Answer { status, problem })
}

/// Asserts that each request is let in exactly if `may` says so of its permission.
fn assert_doors(
    door: &Door,
    namespace: &Namespace,
    who: &str,
    token: &str,
    may: impl Fn(&Permission) -> bool,
) -> Result<()> {
    let base = format!("/v1/namespaces/{}/workspaces/ada", namespace.name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for permission in PERMISSIONS {
        let Permission { subresource, verb, requests } = permission;
        for request in *requests {
            let (method, area, _) = request;
            let seen = runtime
                .block_on(knock(door, token, &base, *request))
                .with_context(|| format!("{who}: {method} {area}"))?;
            let what =
                format!("{who}: {method} {area} ({verb} {subresource}): {} {}", seen.status, seen.problem);
            assert_ne!(seen.status, 401, "{what}");
            assert_eq!(seen.status != 403, may(permission), "{what}");
            let is_served = !seen.problem.contains("route-not-found") && seen.status != 405;
            assert!(is_served, "no such route at the gateway: {what}");
            if seen.status == 403 && *method != "HEAD" {
                let names_it = seen.problem.contains(&format!("workspaces/{subresource}"))
                    && seen.problem.contains(verb);
                assert!(names_it, "a refusal names the permission: {what}");
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn view_edit_admin_and_nobody_may_do_what_kubectl_says_and_no_more() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "matrix")?;
    namespace.ready_workspace("ada", "")?;
    let door = Door::find(&cluster)?;
    for (who, role, inside) in [
        ("none", None, false),
        ("view", Some("view"), false),
        ("edit", Some("edit"), true),
        ("admin", Some("admin"), true),
    ] {
        let user = User::create(&cluster, &namespace, who, role)?;
        for permission in PERMISSIONS {
            let what = format!("{who}: {} {}", permission.verb, permission.subresource);
            let may = user.can_i(&namespace, "ada", permission.verb, permission.subresource)?;
            assert_eq!(may, inside, "kubectl auth can-i: {what}");
        }
        assert_doors(&door, &namespace, who, &user.token, |_| inside)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: make test runs it"]
fn one_permission_opens_its_own_routes_only() -> Result<()> {
    let cluster = Cluster::find()?;
    let namespace = Namespace::create(&cluster, "single")?;
    namespace.ready_workspace("ada", "")?;
    let door = Door::find(&cluster)?;
    for permission in PERMISSIONS {
        let Permission { subresource, verb, .. } = permission;
        let name = format!("{subresource}-{verb}");
        let user = User::create(&cluster, &namespace, &name, None)?;
        cluster.apply(&role_manifest(&namespace.name, &name, subresource, verb))?.success()?;
        assert_doors(&door, &namespace, &name, &user.token, |other| {
            other.subresource == *subresource && other.verb == *verb
        })?;
    }
    Ok(())
}

/// A Role with one permission on one Workspace, bound to the service account of the same name.
fn role_manifest(namespace: &str, name: &str, subresource: &str, verb: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name}, namespace: {namespace}}}\nrules:\n\
         - {{apiGroups: [lodge.dev], resources: [workspaces/{subresource}], resourceNames: [ada], verbs: [{verb}]}}\n\
         ---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}\n\
         subjects: [{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}]\n"
    )
}
