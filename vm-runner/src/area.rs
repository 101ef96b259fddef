//! The part of a workspace's API that a request is about. Supervisor and vm process read it alike, so that a request
//! that nobody can serve never wakes a workspace.

use http::Method;
use vm_api::{Problem, ProblemCode, WakeCause, route};

use crate::http::route_not_found;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    Exec,
    Processes,
    Process(ProcessAction),
    Shells,
    Shell(ShellAction),
    Events,
    File,
    Mkdir,
    Move,
    Copy,
    Link,
    BatchRead,
    BatchWrite,
    Archive,
    Health,
    Wake,
    Sleep,
    Fsck,
}

/// What is wanted of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessAction {
    Show,
    Wait,
    Kill,
    Stdin,
    Output,
    Strace,
}

/// What is wanted of one shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShellAction {
    /// The shell itself: to see it, to end it.
    Item,
    Attach,
    Resize,
}

/// Why a request is about nothing.
#[derive(Debug)]
pub(crate) enum AreaError {
    /// There is no such route.
    NotFound(Problem),
    /// The route takes these methods.
    Method(&'static str),
}

impl Area {
    /// Reads the area and checks the method. `path` is the whole path, for messages.
    pub(crate) fn parse(area: &str, method: &Method, path: &str) -> Result<Self, AreaError> {
        let (area, allowed) = match area {
            route::EXEC => (Self::Exec, "POST"),
            route::PROCESSES => (Self::Processes, "GET, POST"),
            route::SHELLS => (Self::Shells, "GET, POST"),
            route::EVENTS => (Self::Events, "GET"),
            route::MKDIR => (Self::Mkdir, "POST"),
            route::MOVE => (Self::Move, "POST"),
            route::COPY => (Self::Copy, "POST"),
            route::LINK => (Self::Link, "POST"),
            route::BATCH_READ => (Self::BatchRead, "POST"),
            route::BATCH_WRITE => (Self::BatchWrite, "POST"),
            route::ARCHIVE => (Self::Archive, "GET, PUT"),
            route::HEALTH => (Self::Health, "GET"),
            route::WAKE => (Self::Wake, "POST"),
            route::SLEEP => (Self::Sleep, "POST"),
            route::FSCK => (Self::Fsck, "POST"),
            route::FILES => (Self::File, "GET, HEAD, PUT, PATCH, DELETE"),
            _ if area.strip_prefix(route::FILES).is_some_and(|rest| rest.starts_with('/')) => {
                (Self::File, "GET, HEAD, PUT, PATCH, DELETE")
            }
            _ => match Self::parse_item(area) {
                Some(item) => item,
                None => return Err(AreaError::NotFound(route_not_found(path))),
            },
        };
        if allowed.split(", ").any(|name| name == method.as_str()) {
            Ok(area)
        } else {
            Err(AreaError::Method(allowed))
        }
    }

    /// Reads what is about one process or one shell.
    fn parse_item(area: &str) -> Option<(Self, &'static str)> {
        if let Some((_, action)) = route::split_item(area, route::PROCESSES) {
            let (action, allowed) = match action {
                "" => (ProcessAction::Show, "GET"),
                "wait" => (ProcessAction::Wait, "GET"),
                "kill" => (ProcessAction::Kill, "POST"),
                "stdin" => (ProcessAction::Stdin, "POST"),
                "output" => (ProcessAction::Output, "GET"),
                "strace" => (ProcessAction::Strace, "GET"),
                _ => return None,
            };
            return Some((Self::Process(action), allowed));
        }
        let (_, action) = route::split_item(area, route::SHELLS)?;
        let (action, allowed) = match action {
            "" => (ShellAction::Item, "GET, DELETE"),
            "attach" => (ShellAction::Attach, "GET"),
            "resize" => (ShellAction::Resize, "POST"),
            _ => return None,
        };
        Some((Self::Shell(action), allowed))
    }

    /// What a boot for such a request is counted as.
    pub(crate) fn wake_cause(self) -> WakeCause {
        match self {
            Self::Exec
            | Self::Processes
            | Self::Process(_)
            | Self::Shells
            | Self::Shell(_)
            | Self::Events => WakeCause::Exec,
            Self::Wake | Self::Sleep => WakeCause::OnDemand,
            Self::File
            | Self::Mkdir
            | Self::Move
            | Self::Copy
            | Self::Link
            | Self::BatchRead
            | Self::BatchWrite
            | Self::Archive
            | Self::Fsck
            | Self::Health => WakeCause::File,
        }
    }

    /// Whether it only reads files, so that a workspace that sleeps need not be woken for it.
    pub(crate) fn is_file_read(self, method: &Method, query: Option<&str>) -> bool {
        let is_get = matches!(*method, Method::GET | Method::HEAD);
        match self {
            // Somebody who watches a workspace that sleeps would wait for what cannot happen.
            Self::File => is_get && !query.is_some_and(is_watch),
            Self::Archive => is_get,
            Self::Fsck | Self::BatchRead => true,
            Self::Processes | Self::Process(_) | Self::Shells | Self::Shell(_) | Self::Events => false,
            Self::Mkdir | Self::Move | Self::Copy | Self::Link | Self::BatchWrite => false,
            Self::Exec | Self::Health | Self::Wake | Self::Sleep => false,
        }
    }

    /// Name for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Processes | Self::Process(_) => "processes",
            Self::Shells | Self::Shell(_) => "shells",
            Self::Events => "events",
            Self::File
            | Self::Mkdir
            | Self::Move
            | Self::Copy
            | Self::Link
            | Self::BatchRead
            | Self::BatchWrite
            | Self::Archive
            | Self::Fsck => "files",
            Self::Wake | Self::Sleep => "power",
            Self::Health => "health",
        }
    }
}

fn is_watch(query: &str) -> bool {
    query.split('&').any(|pair| pair == "watch" || pair.starts_with("watch="))
}

/// The guest path in the route of a [`Area::File`] request.
pub(crate) fn guest_path(area: &str) -> Result<Vec<u8>, Problem> {
    let path = route::guest_path(area).unwrap_or_else(|| b"/".to_vec());
    check_path(&path)?;
    Ok(path)
}

/// Refuses bytes that cannot be an absolute path in a VM.
pub(crate) fn check_path(path: &[u8]) -> Result<(), Problem> {
    if path.contains(&0) {
        return Err(Problem::new(
            ProblemCode::InvalidPath,
            format!("the path {:?} contains a NUL byte", String::from_utf8_lossy(path)),
        ));
    }
    if path.first() != Some(&b'/') {
        return Err(Problem::new(
            ProblemCode::InvalidPath,
            format!("the path {:?} is not absolute", String::from_utf8_lossy(path)),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_nobody_serves_is_not_an_area() {
        for area in ["", "execs", "filesystem", "files:frob", "exec/x"] {
            assert!(matches!(Area::parse(area, &Method::POST, "/p"), Err(AreaError::NotFound(_))), "{area}");
        }
    }

    #[test]
    fn each_area_has_its_methods() {
        assert!(matches!(Area::parse("exec", &Method::GET, "/p"), Err(AreaError::Method("POST"))));
        assert_eq!(Area::parse("files/a/b", &Method::PUT, "/p").unwrap(), Area::File);
        assert_eq!(Area::parse("files:mkdir", &Method::POST, "/p").unwrap(), Area::Mkdir);
        assert_eq!(Area::parse("files:archive", &Method::PUT, "/p").unwrap(), Area::Archive);
        assert!(matches!(Area::parse("files:batchRead", &Method::GET, "/p"), Err(AreaError::Method("POST"))));
    }

    #[test]
    fn reading_files_wakes_nobody_but_watching_them_does() {
        for (area, method, query, expected) in [
            (Area::File, Method::GET, None, true),
            (Area::File, Method::HEAD, Some("stat"), true),
            (Area::File, Method::GET, Some("recursive&watch"), false),
            (Area::File, Method::PUT, None, false),
            (Area::Archive, Method::GET, Some("path=/watch"), true),
            (Area::Archive, Method::PUT, None, false),
            (Area::BatchRead, Method::POST, None, true),
            (Area::BatchWrite, Method::POST, None, false),
        ] {
            assert_eq!(area.is_file_read(&method, query), expected, "{area:?} {method} {query:?}");
        }
    }

    #[test]
    fn what_is_about_one_process_or_shell_has_its_area() {
        let parse = |area: &str, method: &Method| Area::parse(area, method, "/p");
        assert_eq!(parse("processes/7/kill", &Method::POST).unwrap(), Area::Process(ProcessAction::Kill));
        assert_eq!(parse("shells/a-1", &Method::DELETE).unwrap(), Area::Shell(ShellAction::Item));
        assert!(matches!(parse("shells/a-1/attach", &Method::POST), Err(AreaError::Method("GET"))));
        for area in ["processes/7/frob", "processes/", "shells/a/", "shells/a/attach/x", "processes//wait"] {
            assert!(matches!(parse(area, &Method::GET), Err(AreaError::NotFound(_))), "{area}");
        }
    }

    #[test]
    fn a_path_with_nul_is_refused() {
        let problem = guest_path("files/a%00b").unwrap_err();
        assert!(problem.is(ProblemCode::InvalidPath));
        assert!(problem.detail.contains("NUL"), "{}", problem.detail);
    }
}
