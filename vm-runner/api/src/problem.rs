//! Errors on the wire: RFC 9457 problem documents with a stable `code`.
//!
//! A code never changes its meaning; text may. Where a limit was hit, `limit` names the field of the Workspace's
//! specification that raises it.

use serde::{Deserialize, Serialize};

/// Media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URI for the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This problem, in words: names the thing and the way out.
    pub detail: String,
    /// Stable name of the kind of problem; one of [`ProblemCode`] unless the server is newer.
    pub code: String,
    /// The request that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Box<str>>,
    /// Spec path of the limit that was hit, such as `spec.limits.processes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Box<str>>,
    /// Name of the system's error, such as `ENOENT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<Box<str>>,
    /// Part of the specification or of the request that is wrong, such as `spec.software[1].name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Box<str>>,
    /// The guest path that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Box<str>>,
    /// Its percent-encoded bytes; present only where `path` is not the exact name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_encoded: Option<Box<str>>,
}

impl Problem {
    /// A problem of the kind `code`, with its status and title.
    #[must_use]
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("https://lodge.dev/problems/{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code: code.as_str().to_owned(),
            instance: None,
            limit: None,
            errno: None,
            field: None,
            path: None,
            path_encoded: None,
        }
    }

    /// Names the limit that was hit.
    #[must_use]
    pub fn with_limit(mut self, spec_path: impl Into<String>) -> Self {
        self.limit = Some(spec_path.into().into_boxed_str());
        self
    }

    /// Names the system's error.
    #[must_use]
    pub fn with_errno(mut self, name: impl Into<String>) -> Self {
        self.errno = Some(name.into().into_boxed_str());
        self
    }

    /// Names the field that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into().into_boxed_str());
        self
    }

    /// Names the guest path, without loss.
    #[must_use]
    pub fn with_path(mut self, path: &[u8]) -> Self {
        let text = String::from_utf8_lossy(path);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            self.path_encoded = Some(crate::route::encode_guest_path(path).into_boxed_str());
        }
        self.path = Some(text.into_owned().into_boxed_str());
        self
    }

    /// Names the request.
    #[must_use]
    pub fn with_instance(mut self, path: impl Into<String>) -> Self {
        self.instance = Some(path.into().into_boxed_str());
        self
    }

    /// Whether this is a problem of the kind `code`.
    #[must_use]
    pub fn is(&self, code: ProblemCode) -> bool {
        self.code == code.as_str()
    }

    /// The kind of problem, if this version knows it.
    #[must_use]
    pub fn known_code(&self) -> Option<ProblemCode> {
        ProblemCode::ALL.iter().copied().find(|code| self.is(*code))
    }

    /// The document as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Only strings and a number: cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

impl std::error::Error for Problem {}

macro_rules! problem_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $status:literal, $title:literal $(, $way_out:literal)?;)*) => {
        /// The kinds of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ProblemCode { $($(#[doc = $doc])+ $name,)* }

        impl ProblemCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it is on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that it comes with.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The kind of problem, in words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)* }
            }

            /// What to do about it, in a sentence.
            #[must_use]
            pub fn way_out(self) -> &'static str {
                match self { $(Self::$name => concat!($($way_out)?),)* }
            }
        }
    };
}

problem_codes! {
    // The request itself.
    /// The body is not JSON.
    MalformedJson = "malformed-json", 400, "Malformed JSON",
        "Send a JSON document; the detail gives line and column.";
    /// The body is JSON, and a field is wrong.
    InvalidRequest = "invalid-request", 400, "Invalid request",
        "Correct the field that the detail names; `/openapi.json` has the schema.";
    /// A query parameter is wrong.
    InvalidQuery = "invalid-query", 400, "Invalid query parameter",
        "Correct the parameter in `field`.";
    /// A path cannot be a path in the VM.
    InvalidPath = "invalid-path", 400, "Invalid path",
        "Send an absolute path without NUL; percent-encode other bytes.";
    /// An environment variable cannot be one.
    InvalidEnv = "invalid-env", 400, "Invalid environment variable",
        "Use names without `=` and NUL.";
    /// The configuration of a workspace cannot be used.
    InvalidConfig = "invalid-config", 422, "Invalid workspace configuration",
        "Correct the part of the specification in `field`.";
    /// A body of this type is not understood.
    UnsupportedMediaType = "unsupported-media-type", 415, "Unsupported media type",
        "Send the media type that the detail names.";
    /// The body is larger than this route takes.
    BodyTooLarge = "body-too-large", 413, "Request body too large",
        "Send less at once, or raise the limit in `limit`.";
    /// The body ended early.
    BodyIncomplete = "body-incomplete", 400, "Request body incomplete",
        "Send the request again.";
    /// The range is outside of the file.
    RangeNotSatisfiable = "range-not-satisfiable", 416, "Range not satisfiable",
        "Ask for a range inside the size that `Content-Range` tells.";
    /// There is no such route.
    RouteNotFound = "route-not-found", 404, "No such route",
        "Compare with the routes in `/openapi.json`.";
    /// The route has no such method.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed",
        "Use a method of the `Allow` header.";
    /// The file is not the one that `If-Match` names.
    PreconditionFailed = "precondition-failed", 412, "Precondition failed",
        "Read the file again and repeat with its new entity tag.";

    // Who asks.
    /// Nobody known asks.
    Unauthenticated = "unauthenticated", 401, "Not authenticated",
        "Send a valid token or client certificate.";
    /// Somebody asks who may not.
    Forbidden = "forbidden", 403, "Forbidden",
        "Ask for the role that the detail names.";
    /// The cluster cannot be asked who this is.
    AuthenticationUnavailable = "authentication-unavailable", 503, "Authentication unavailable",
        "Try again after `Retry-After`.";
    /// The cluster cannot be asked whether this is allowed.
    AuthorizationUnavailable = "authorization-unavailable", 503, "Authorization unavailable",
        "Try again after `Retry-After`.";

    // The workspace and its runner.
    /// There is no such workspace.
    WorkspaceNotFound = "workspace-not-found", 404, "Workspace not found",
        "Check namespace and name; create the workspace.";
    /// The workspace is known, and its runner is not or was not told about it yet.
    WorkspaceNotBound = "workspace-not-bound", 503, "Workspace not bound",
        "Try again after `Retry-After`; the operator binds it to a runner.";
    /// The workspace sleeps because its specification says so.
    WorkspaceAsleep = "workspace-asleep", 409, "Workspace asleep",
        "Set `spec.power` to `Auto` or `Awake`.";
    /// The workspace cannot be put to sleep because its specification wants it awake.
    WorkspaceKeptAwake = "workspace-kept-awake", 409, "Workspace kept awake",
        "Set spec.power to Auto or Asleep.";
    /// The VM is being stopped; the request was not done, and the next one boots it again.
    WorkspaceStopping = "workspace-stopping", 503, "Workspace going to sleep",
        "Send the request again; it boots the VM.";
    /// The workspace is being deleted.
    WorkspaceDeleting = "workspace-deleting", 409, "Workspace being deleted",
        "Wait until it is gone, then create it anew.";
    /// The workspace belongs to another runner by now.
    StaleEpoch = "stale-epoch", 409, "Stale epoch",
        "Ask the gateway again; it knows the new runner.";
    /// A package of `spec.software` does not exist here.
    SoftwareUnknown = "software-unknown", 422, "Unknown software",
        "Choose packages that `GET /v1/software` lists.";
    /// A volume of `spec.mounts` does not exist at this runner.
    VolumeUnknown = "volume-unknown", 422, "Unknown volume",
        "Name a volume of the runner's flags --volume NAME=PATH.";
    /// Somebody else has the workspace's files open.
    StorageBusy = "storage-busy", 503, "Files in use",
        "Try again; if it stays so, find the other vm process that has the files open.";
    /// The workspace's files were written by a newer version.
    StorageNewer = "storage-newer", 503, "Files of a newer version",
        "Run the version of the runner that wrote the files, or a newer one.";
    /// The workspace's files are damaged.
    StorageCorrupt = "storage-corrupt", 503, "Files damaged",
        "Restore the workspace's folder from a backup, or delete the workspace.";
    /// The volume that the runner keeps files on is full.
    StorageFull = "storage-full", 507, "Volume of the runner full",
        "Make room on the runner's volume, or make it larger.";
    /// The workspace's files cannot be reached.
    StorageUnavailable = "storage-unavailable", 503, "Files not available",
        "Look into the runner's log for what its volume answers, and try again.";
    /// The workspace keeps no files, so there is nothing to check.
    StorageEphemeral = "storage-ephemeral", 409, "Nothing is kept",
        "Set spec.storage.type to Persistent.";
    /// The VM could not be started.
    BootFailed = "boot-failed", 503, "VM could not be started",
        "Read the detail; if it names no cause of yours, read the runner's log.";
    /// The VM did not start in time.
    BootTimeout = "boot-timeout", 504, "VM did not start in time",
        "Try again; if it stays, look at the runner's load.";
    /// The VM ended while it worked on the request.
    VmDied = "vm-died", 502, "VM ended",
        "Check whether the request was done, then repeat it; the VM boots again.";
    /// The vm process was told its configuration already.
    AlreadyBooted = "already-booted", 409, "VM already booted",
        "Nothing to do; only a supervisor sees it.";
    /// The runner cannot be reached.
    RunnerUnreachable = "runner-unreachable", 503, "Runner unreachable",
        "Try again after `Retry-After`; look at the runner's pod if it stays.";
    /// The server is stopping.
    ShuttingDown = "shutting-down", 503, "Shutting down",
        "Try again after `Retry-After`.";

    // Commands.
    /// There is no such command.
    CommandNotFound = "command-not-found", 404, "Command not found",
        "Check the name and `PATH`; add the package to `spec.software`.";
    /// The file cannot be run.
    CommandNotExecutable = "command-not-executable", 422, "Command not executable",
        "Set its execute bit, or name its interpreter.";
    /// There is no such account in the VM.
    UserUnknown = "user-unknown", 422, "Unknown user",
        "Use `root` or the name in `spec.user.name`.";
    /// The working directory cannot be entered.
    InvalidCwd = "invalid-cwd", 422, "Working directory not usable",
        "Name a directory that exists and that the user may enter.";
    /// There is no such process.
    ProcessNotFound = "process-not-found", 404, "Process not found",
        "List the processes; an ended one is forgotten after a while.";
    /// The process has ended.
    ProcessEnded = "process-ended", 409, "Process ended",
        "Nothing to do; `wait` tells how it ended.";
    /// The process was not started by `POST /processes`, so its streams are not the API's.
    ProcessWithoutStreams = "process-without-streams", 409, "Process without streams",
        "Start the command with `POST /processes`.";
    /// Nobody reads the standard input of the process.
    StdinClosed = "stdin-closed", 409, "Standard input closed",
        "Start the process with `stdin: pipe`, and write before it closes its standard input.";
    /// Another request is writing to the standard input of the process.
    StdinBusy = "stdin-busy", 409, "Standard input in use",
        "Wait for the other request to end.";
    /// There is no such shell.
    ShellNotFound = "shell-not-found", 404, "Shell not found",
        "List the shells; an ended one is forgotten after a while.";
    /// The shell has ended.
    ShellEnded = "shell-ended", 409, "Shell ended",
        "Start another one.";
    /// There is no such run.
    RunNotFound = "run-not-found", 404, "Run not found",
        "List the runs; an ended one is forgotten after a while.";
    /// The route speaks WebSocket only.
    UpgradeRequired = "upgrade-required", 426, "WebSocket required",
        "Connect with a WebSocket client, version 13.";

    // Files.
    /// There is no such file.
    PathNotFound = "path-not-found", 404, "Path not found",
        "Check the path; `?list` of its parent shows what is there.";
    /// There is such a file already.
    PathExists = "path-exists", 409, "Path exists",
        "Choose another path, or ask to overwrite.";
    /// A directory was needed.
    NotADirectory = "not-a-directory", 409, "Not a directory",
        "Name a directory.";
    /// A file was needed.
    IsADirectory = "is-a-directory", 409, "Is a directory",
        "Name a file; `?list` lists a directory.";
    /// The directory has entries.
    DirectoryNotEmpty = "directory-not-empty", 409, "Directory not empty",
        "Delete with `?recursive`.";
    /// The workspace's user may not.
    PermissionDenied = "permission-denied", 403, "Permission denied",
        "Change mode or owner of the file, as root if need be.";
    /// The file system cannot be written.
    ReadOnlyFileSystem = "read-only-file-system", 403, "Read-only file system",
        "Write elsewhere, or mount it writable in `spec.mounts`.";
    /// Too many symbolic links on the way.
    TooManySymlinks = "too-many-symlinks", 400, "Too many symbolic links",
        "Remove the loop of symbolic links.";
    /// The path or a name in it is too long.
    PathTooLong = "path-too-long", 400, "Path too long",
        "Use shorter names.";
    /// A file cannot move to another file system.
    CrossDevice = "cross-device", 409, "Different file systems",
        "Copy, then delete.";
    /// The file is in use in a way that forbids this.
    FileBusy = "file-busy", 409, "File busy",
        "Choose another path, or unmount it in `spec.mounts`.";
    /// Neither file nor directory, or a kind of file that this action cannot handle.
    UnsupportedFileType = "unsupported-file-type", 409, "Unsupported file type",
        "Name a regular file.";
    /// The answer would hold more than this route gives at once.
    ResponseTooLarge = "response-too-large", 413, "Response too large",
        "Ask for less at once; read large files by themselves.";
    /// The archive is not a tar archive that can be read here.
    InvalidArchive = "invalid-archive", 422, "Invalid archive",
        "Make the archive as the detail says; entries before the one it names are in place.";
    /// Too many watches of files at once in this VM.
    LimitWatches = "limit-watches", 429, "Too many watches",
        "End watches that are not needed; one recursive watch replaces many.";
    /// Another failure of a file system; `errno` names it.
    FileError = "file-error", 500, "File operation failed",
        "Look up the error number in `errno`.";

    // Limits. `limit` names the field that raises it.
    /// No room for another process.
    LimitProcesses = "limit-processes", 429, "Process limit reached",
        "End processes, or raise `limit`.";
    /// No room for another open file.
    LimitOpenFiles = "limit-open-files", 429, "Open file limit reached",
        "Close files, or raise `limit`.";
    /// No room in memory.
    LimitMemory = "limit-memory", 429, "Memory limit reached",
        "End processes, or raise `limit`.";
    /// No room in the file system.
    LimitStorage = "limit-storage", 507, "Storage limit reached",
        "Delete files, or raise `limit`.";
    /// No room for another inode.
    LimitInodes = "limit-inodes", 507, "Inode limit reached",
        "Delete files, or raise `limit`.";
    /// Arguments and environment are too long together.
    LimitArguments = "limit-arguments", 413, "Arguments too long",
        "Pass long input on standard input or in a file.";
    /// No room for another terminal.
    LimitTerminals = "limit-terminals", 429, "Terminal limit reached",
        "End shells that are not needed.";
    /// Too many readers of the same output.
    LimitStreams = "limit-streams", 429, "Stream limit reached",
        "End streams that are not needed.";
    /// Too many runs of the workspace go on.
    LimitRuns = "limit-runs", 429, "Too many runs",
        "Wait for runs to end, or stop some.";
    /// No room for what the API holds in memory for the VM: request bodies and output.
    LimitBuffers = "limit-buffers", 429, "Buffer limit reached",
        "Send less at once or fewer requests at a time, or raise the limit in `limit`.";
    /// Too many requests at once for this workspace.
    LimitWorkspaceRequests = "limit-workspace-requests", 429, "Too many requests at once for this workspace",
        "Wait for answers before sending more.";
    /// Too many requests at once for this runner.
    LimitRunnerRequests = "limit-runner-requests", 503, "Too many requests at once for this runner",
        "Try again after `Retry-After`.";
    /// Too many workspaces at this runner.
    LimitWorkspaces = "limit-workspaces", 503, "Too many workspaces at this runner",
        "Raise `limit` or add a runner.";
    /// Too many requests at once or in a time for this user.
    LimitUserRequests = "limit-user-requests", 429, "Too many requests of this user",
        "Slow down; try again after `Retry-After`.";
    /// Too many connections.
    LimitConnections = "limit-connections", 503, "Too many connections",
        "Reuse connections; try again after `Retry-After`.";

    /// A fault of ours; the detail says where and what to report.
    Internal = "internal", 500, "Fault in Lodge",
        "Report the detail and the request id.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_kebab_case() {
        let mut codes: Vec<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ProblemCode::ALL.len());
        assert!(codes.iter().all(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
    }

    #[test]
    fn every_code_says_what_it_means_and_the_way_out() {
        for code in ProblemCode::ALL {
            for text in [code.meaning(), code.way_out()] {
                assert!(text.ends_with('.') && text.len() > 10, "{}: {text:?}", code.as_str());
            }
        }
    }

    #[test]
    fn a_path_is_named_without_loss() {
        let problem = Problem::new(ProblemCode::PathNotFound, "x").with_path(b"/a\xff");
        assert_eq!(problem.path.as_deref(), Some("/a\u{fffd}"));
        assert_eq!(problem.path_encoded.as_deref(), Some("/a%FF"));
        assert_eq!(
            Problem::new(ProblemCode::PathNotFound, "x").with_path("/ä".as_bytes()).path_encoded,
            None
        );
    }

    #[test]
    fn a_problem_tells_its_kind_limit_and_errno() {
        let problem = Problem::new(ProblemCode::LimitStorage, "no space left")
            .with_limit("spec.storage.size")
            .with_errno("ENOSPC");
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(json["code"], "limit-storage");
        assert_eq!(json["status"], 507);
        assert_eq!(json["limit"], "spec.storage.size");
        assert_eq!(json["type"], "https://lodge.dev/problems/limit-storage");
        assert_eq!(
            serde_json::from_value::<Problem>(json).unwrap().known_code(),
            Some(ProblemCode::LimitStorage)
        );
    }

    #[test]
    fn a_problem_of_a_newer_server_can_still_be_read() {
        let json =
            r#"{"type":"t","title":"t","status":400,"detail":"d","code":"from-the-future","colour":1}"#;
        let problem: Problem = serde_json::from_str(json).unwrap();
        assert_eq!(problem.known_code(), None);
    }
}
