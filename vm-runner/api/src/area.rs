//! What a request to a workspace is about, read from the method and from what follows the workspace in the path.
//!
//! Gateway, supervisor and vm process read it alike: what was authorised in one is what is carried out in the other, and
//! a request that nobody can serve never wakes a workspace. An area knows the permission that a user needs for it.

use crate::{Run, WakeCause, route};

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// A command that the request waits for.
    Exec,
    /// The processes.
    Processes,
    /// One process.
    Process(ProcessAction),
    /// The shells.
    Shells,
    /// One shell.
    Shell(ShellAction),
    /// The runs.
    Runs,
    /// One run.
    Run(RunAction),
    /// What happens in the VM.
    Events,
    /// A file.
    File,
    /// A new directory.
    Mkdir,
    /// A file's place.
    Move,
    /// A copy of a file or of a tree.
    Copy,
    /// A new link.
    Link,
    /// Many files, to read.
    BatchRead,
    /// Many files, to write.
    BatchWrite,
    /// A tree as an archive.
    Archive,
    /// Whether the kept files are consistent.
    Fsck,
    /// Whether the VM serves.
    Health,
    /// Boots the VM.
    Wake,
    /// Stops the VM.
    Sleep,
}

/// What is wanted of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessAction {
    /// To see it.
    Show,
    /// To hear how it ends.
    Wait,
    /// To send it a signal.
    Kill,
    /// To write to its standard input.
    Stdin,
    /// To read what it writes.
    Output,
    /// To see its system calls.
    Strace,
}

/// What is wanted of one shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShellAction {
    /// The shell itself: to see it, to end it.
    Item,
    /// Its terminal.
    Attach,
    /// Its terminal's size.
    Resize,
}

/// What is wanted of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunAction {
    /// To see it.
    Show,
    /// To begin it, unless it is known.
    Begin,
    /// To stop it.
    Stop,
}

/// Why a request is about nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaError {
    /// There is no such route.
    NotFound,
    /// The route takes these methods, as `Allow` lists them.
    Method(&'static str),
}

/// What somebody must be allowed to do, as RBAC knows it: a verb on a virtual subresource of `workspaces`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// Such as `create`.
    pub verb: &'static str,
    /// Such as `exec`, for `workspaces/exec`.
    pub subresource: &'static str,
}

impl Area {
    /// Reads the area and checks the method. `area` is what follows the workspace in the path, percent-encoding kept.
    ///
    /// # Errors
    /// There is no such route, or it does not take the method.
    pub fn parse(area: &str, method: &str) -> Result<Self, AreaError> {
        const FILE_METHODS: &str = "GET, HEAD, PUT, PATCH, DELETE";
        let (area, allowed) = match area {
            route::EXEC => (Self::Exec, "POST"),
            route::PROCESSES => (Self::Processes, "GET, POST"),
            route::SHELLS => (Self::Shells, "GET, POST"),
            route::RUNS => (Self::Runs, "GET"),
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
            route::FILES => (Self::File, FILE_METHODS),
            _ if area.strip_prefix(route::FILES).is_some_and(|rest| rest.starts_with('/')) => {
                (Self::File, FILE_METHODS)
            }
            _ => Self::parse_item(area, method).ok_or(AreaError::NotFound)?,
        };
        if allowed.split(", ").any(|name| name == method) {
            Ok(area)
        } else {
            Err(AreaError::Method(allowed))
        }
    }

    /// Reads what is about one process, one shell or one run.
    fn parse_item(area: &str, method: &str) -> Option<(Self, &'static str)> {
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
        if let Some((_, action)) = route::split_item(area, route::RUNS) {
            let (action, allowed) = match (action, method) {
                ("", "PUT") => (RunAction::Begin, "GET, PUT"),
                ("", _) => (RunAction::Show, "GET, PUT"),
                ("stop", _) => (RunAction::Stop, "POST"),
                _ => return None,
            };
            return Some((Self::Run(action), allowed));
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

    /// The permission that a user needs for this with a method that the route takes. Nothing where no user may, whatever
    /// their permissions: runs are begun and stopped by the operator only, for a `CronJob`.
    #[must_use]
    pub fn permission(self, method: &str) -> Option<Permission> {
        let is_get = matches!(method, "GET" | "HEAD");
        let (verb, subresource) = match self {
            Self::Exec => ("create", "exec"),
            Self::Processes => (if is_get { "get" } else { "create" }, "processes"),
            Self::Process(ProcessAction::Show | ProcessAction::Wait | ProcessAction::Output) => {
                ("get", "processes")
            }
            // A log of system calls shows what a process reads and writes, and slows it down.
            Self::Process(ProcessAction::Kill | ProcessAction::Stdin | ProcessAction::Strace) => {
                ("update", "processes")
            }
            Self::Shells => (if is_get { "get" } else { "create" }, "shells"),
            Self::Shell(ShellAction::Item) => (if is_get { "get" } else { "delete" }, "shells"),
            Self::Shell(ShellAction::Attach | ShellAction::Resize) => ("update", "shells"),
            Self::Runs | Self::Run(RunAction::Show) => ("get", "runs"),
            Self::Run(RunAction::Begin | RunAction::Stop) => return None,
            Self::Events => ("get", "events"),
            Self::File | Self::Archive => (if is_get { "get" } else { "update" }, "files"),
            Self::BatchRead => ("get", "files"),
            Self::Mkdir | Self::Move | Self::Copy | Self::Link | Self::BatchWrite | Self::Fsck => {
                ("update", "files")
            }
            Self::Health => ("get", "power"),
            Self::Wake | Self::Sleep => ("update", "power"),
        };
        Some(Permission { verb, subresource })
    }

    /// What a boot for such a request is counted as.
    #[must_use]
    pub fn wake_cause(self) -> WakeCause {
        match self {
            Self::Exec
            | Self::Processes
            | Self::Process(_)
            | Self::Shells
            | Self::Shell(_)
            | Self::Events => WakeCause::Exec,
            Self::Runs | Self::Run(_) => Run::WAKE_CAUSE,
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
    #[must_use]
    pub fn is_file_read(self, method: &str, query: Option<&str>) -> bool {
        let is_get = matches!(method, "GET" | "HEAD");
        match self {
            // Somebody who watches a workspace that sleeps would wait for what cannot happen.
            Self::File => is_get && !query.is_some_and(is_watch),
            Self::Archive => is_get,
            Self::Fsck | Self::BatchRead => true,
            Self::Processes | Self::Process(_) | Self::Shells | Self::Shell(_) | Self::Events => false,
            Self::Mkdir | Self::Move | Self::Copy | Self::Link | Self::BatchWrite => false,
            Self::Exec | Self::Runs | Self::Run(_) | Self::Health | Self::Wake | Self::Sleep => false,
        }
    }

    /// Name for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Processes | Self::Process(_) => "processes",
            Self::Shells | Self::Shell(_) => "shells",
            Self::Runs | Self::Run(_) => "runs",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_nobody_serves_is_not_an_area() {
        for area in ["", "execs", "filesystem", "files:frob", "exec/x", "%65xec", "Exec", "exec/", "runs/a/b"]
        {
            assert_eq!(Area::parse(area, "POST"), Err(AreaError::NotFound), "{area}");
        }
    }

    #[test]
    fn each_area_has_its_methods() {
        assert_eq!(Area::parse("exec", "GET"), Err(AreaError::Method("POST")));
        assert_eq!(Area::parse("files/a/b", "PUT"), Ok(Area::File));
        assert_eq!(Area::parse("files:mkdir", "POST"), Ok(Area::Mkdir));
        assert_eq!(Area::parse("files:archive", "PUT"), Ok(Area::Archive));
        assert_eq!(Area::parse("files:batchRead", "GET"), Err(AreaError::Method("POST")));
    }

    #[test]
    fn reading_files_wakes_nobody_but_watching_them_does() {
        for (area, method, query, expected) in [
            (Area::File, "GET", None, true),
            (Area::File, "HEAD", Some("stat"), true),
            (Area::File, "GET", Some("recursive&watch"), false),
            (Area::File, "PUT", None, false),
            (Area::Archive, "GET", Some("path=/watch"), true),
            (Area::Archive, "PUT", None, false),
            (Area::BatchRead, "POST", None, true),
            (Area::BatchWrite, "POST", None, false),
        ] {
            assert_eq!(area.is_file_read(method, query), expected, "{area:?} {method} {query:?}");
        }
    }

    #[test]
    fn what_is_about_one_process_shell_or_run_has_its_area() {
        assert_eq!(Area::parse("processes/7/kill", "POST"), Ok(Area::Process(ProcessAction::Kill)));
        assert_eq!(Area::parse("shells/a-1", "DELETE"), Ok(Area::Shell(ShellAction::Item)));
        assert_eq!(Area::parse("shells/a-1/attach", "POST"), Err(AreaError::Method("GET")));
        assert_eq!(Area::parse("runs/nightly-1", "PUT"), Ok(Area::Run(RunAction::Begin)));
        assert_eq!(Area::parse("runs/nightly-1", "GET"), Ok(Area::Run(RunAction::Show)));
        assert_eq!(Area::parse("runs/nightly-1", "DELETE"), Err(AreaError::Method("GET, PUT")));
        assert_eq!(Area::parse("runs/nightly-1/stop", "POST"), Ok(Area::Run(RunAction::Stop)));
        for area in ["processes/7/frob", "processes/", "shells/a/", "shells/a/attach/x", "processes//wait"] {
            assert_eq!(Area::parse(area, "GET"), Err(AreaError::NotFound), "{area}");
        }
    }

    /// The permission that a request needs, as `verb subresource`.
    fn permission(method: &str, area: &str) -> Option<String> {
        let permission = Area::parse(area, method).unwrap().permission(method)?;
        Some(format!("{} {}", permission.verb, permission.subresource))
    }

    #[test]
    fn every_request_needs_the_permission_that_the_documentation_names() {
        for (wanted, requests) in [
            ("create exec", &["POST exec"][..]),
            (
                "get files",
                &["GET files/a", "HEAD files/a", "GET files", "POST files:batchRead", "GET files:archive"],
            ),
            (
                "update files",
                &[
                    "PUT files/a",
                    "PATCH files/a",
                    "DELETE files/a",
                    "POST files:mkdir",
                    "POST files:move",
                    "POST files:copy",
                    "POST files:link",
                    "POST files:batchWrite",
                    "PUT files:archive",
                    "POST files:fsck",
                ],
            ),
            (
                "get processes",
                &["GET processes", "GET processes/1", "GET processes/1/wait", "GET processes/1/output"],
            ),
            ("create processes", &["POST processes"]),
            (
                "update processes",
                &["POST processes/1/kill", "POST processes/1/stdin", "GET processes/1/strace"],
            ),
            ("get shells", &["GET shells", "GET shells/a"]),
            ("create shells", &["POST shells"]),
            ("update shells", &["GET shells/a/attach", "POST shells/a/resize"]),
            ("delete shells", &["DELETE shells/a"]),
            ("get events", &["GET events"]),
            ("get runs", &["GET runs", "GET runs/a"]),
            ("get power", &["GET health"]),
            ("update power", &["POST wake", "POST sleep"]),
        ] {
            for request in requests {
                let (method, area) = request.split_once(' ').unwrap();
                assert_eq!(permission(method, area).as_deref(), Some(wanted), "{request}");
            }
        }
    }

    #[test]
    fn no_user_begins_or_stops_a_run() {
        assert_eq!(permission("PUT", "runs/a"), None);
        assert_eq!(permission("POST", "runs/a/stop"), None);
    }
}
