//! Errors on the wire: RFC 9457 problem documents with a stable `code`.
//!
//! A code never changes its meaning; text may. Where a limit was hit, `limit` names the field of the Workspace's
//! specification that raises it.

use serde::{Deserialize, Serialize};

/// Media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub instance: Option<String>,
    /// Spec path of the limit that was hit, such as `spec.limits.processes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Name of the system's error, such as `ENOENT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// Part of the specification or of the request that is wrong, such as `spec.software[1].name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
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
        }
    }

    /// Names the limit that was hit.
    #[must_use]
    pub fn with_limit(mut self, spec_path: impl Into<String>) -> Self {
        self.limit = Some(spec_path.into());
        self
    }

    /// Names the system's error.
    #[must_use]
    pub fn with_errno(mut self, name: impl Into<String>) -> Self {
        self.errno = Some(name.into());
        self
    }

    /// Names the field that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names the request.
    #[must_use]
    pub fn with_instance(mut self, path: impl Into<String>) -> Self {
        self.instance = Some(path.into());
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
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ProblemCode { $($(#[$doc])* $name,)* }

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
        }
    };
}

problem_codes! {
    // The request itself.
    /// The body is not JSON.
    MalformedJson = "malformed-json", 400, "Malformed JSON";
    /// The body is JSON, and a field is wrong.
    InvalidRequest = "invalid-request", 400, "Invalid request";
    /// A query parameter is wrong.
    InvalidQuery = "invalid-query", 400, "Invalid query parameter";
    /// A path cannot be a path in the VM.
    InvalidPath = "invalid-path", 400, "Invalid path";
    /// An environment variable cannot be one.
    InvalidEnv = "invalid-env", 400, "Invalid environment variable";
    /// The configuration of a workspace cannot be used.
    InvalidConfig = "invalid-config", 422, "Invalid workspace configuration";
    /// A body of this type is not understood.
    UnsupportedMediaType = "unsupported-media-type", 415, "Unsupported media type";
    /// The body is larger than this route takes.
    BodyTooLarge = "body-too-large", 413, "Request body too large";
    /// The body ended early.
    BodyIncomplete = "body-incomplete", 400, "Request body incomplete";
    /// The range is outside of the file.
    RangeNotSatisfiable = "range-not-satisfiable", 416, "Range not satisfiable";
    /// There is no such route.
    RouteNotFound = "route-not-found", 404, "No such route";
    /// The route has no such method.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed";
    /// The file is not the one that `If-Match` names.
    PreconditionFailed = "precondition-failed", 412, "Precondition failed";

    // Who asks.
    /// Nobody known asks.
    Unauthenticated = "unauthenticated", 401, "Not authenticated";
    /// Somebody asks who may not.
    Forbidden = "forbidden", 403, "Forbidden";
    /// The cluster cannot be asked who this is.
    AuthenticationUnavailable = "authentication-unavailable", 503, "Authentication unavailable";
    /// The cluster cannot be asked whether this is allowed.
    AuthorizationUnavailable = "authorization-unavailable", 503, "Authorization unavailable";

    // The workspace and its runner.
    /// There is no such workspace.
    WorkspaceNotFound = "workspace-not-found", 404, "Workspace not found";
    /// The workspace is known, and its runner is not or was not told about it yet.
    WorkspaceNotBound = "workspace-not-bound", 503, "Workspace not bound";
    /// The workspace sleeps because its specification says so.
    WorkspaceAsleep = "workspace-asleep", 409, "Workspace asleep";
    /// The workspace is being deleted.
    WorkspaceDeleting = "workspace-deleting", 409, "Workspace being deleted";
    /// The workspace belongs to another runner by now.
    StaleEpoch = "stale-epoch", 409, "Stale epoch";
    /// A package of `spec.software` does not exist here.
    SoftwareUnknown = "software-unknown", 422, "Unknown software";
    /// The VM could not be started.
    BootFailed = "boot-failed", 503, "VM could not be started";
    /// The VM did not start in time.
    BootTimeout = "boot-timeout", 504, "VM did not start in time";
    /// The VM ended while it worked on the request.
    VmDied = "vm-died", 502, "VM ended";
    /// The vm process was told its configuration already.
    AlreadyBooted = "already-booted", 409, "VM already booted";
    /// The runner cannot be reached.
    RunnerUnreachable = "runner-unreachable", 503, "Runner unreachable";
    /// The server is stopping.
    ShuttingDown = "shutting-down", 503, "Shutting down";

    // Commands.
    /// There is no such command.
    CommandNotFound = "command-not-found", 404, "Command not found";
    /// The file cannot be run.
    CommandNotExecutable = "command-not-executable", 422, "Command not executable";
    /// There is no such account in the VM.
    UserUnknown = "user-unknown", 422, "Unknown user";
    /// The working directory cannot be entered.
    InvalidCwd = "invalid-cwd", 422, "Working directory not usable";

    // Files.
    /// There is no such file.
    PathNotFound = "path-not-found", 404, "Path not found";
    /// There is such a file already.
    PathExists = "path-exists", 409, "Path exists";
    /// A directory was needed.
    NotADirectory = "not-a-directory", 409, "Not a directory";
    /// A file was needed.
    IsADirectory = "is-a-directory", 409, "Is a directory";
    /// The directory has entries.
    DirectoryNotEmpty = "directory-not-empty", 409, "Directory not empty";
    /// The workspace's user may not.
    PermissionDenied = "permission-denied", 403, "Permission denied";
    /// The file system cannot be written.
    ReadOnlyFileSystem = "read-only-file-system", 403, "Read-only file system";
    /// Too many symbolic links on the way.
    TooManySymlinks = "too-many-symlinks", 400, "Too many symbolic links";
    /// The path or a name in it is too long.
    PathTooLong = "path-too-long", 400, "Path too long";
    /// A file cannot move to another file system.
    CrossDevice = "cross-device", 409, "Different file systems";
    /// The file is in use in a way that forbids this.
    FileBusy = "file-busy", 409, "File busy";
    /// Neither file nor directory.
    UnsupportedFileType = "unsupported-file-type", 409, "Unsupported file type";
    /// Another failure of a file system; `errno` names it.
    FileError = "file-error", 500, "File operation failed";

    // Limits. `limit` names the field that raises it.
    /// No room for another process.
    LimitProcesses = "limit-processes", 429, "Process limit reached";
    /// No room for another open file.
    LimitOpenFiles = "limit-open-files", 429, "Open file limit reached";
    /// No room in memory.
    LimitMemory = "limit-memory", 429, "Memory limit reached";
    /// No room in the file system.
    LimitStorage = "limit-storage", 507, "Storage limit reached";
    /// No room for another inode.
    LimitInodes = "limit-inodes", 507, "Inode limit reached";
    /// Arguments and environment are too long together.
    LimitArguments = "limit-arguments", 413, "Arguments too long";
    /// Too many requests at once for this workspace.
    LimitWorkspaceRequests = "limit-workspace-requests", 429, "Too many requests at once for this workspace";
    /// Too many requests at once for this runner.
    LimitRunnerRequests = "limit-runner-requests", 503, "Too many requests at once for this runner";
    /// Too many workspaces at this runner.
    LimitWorkspaces = "limit-workspaces", 503, "Too many workspaces at this runner";
    /// Too many requests at once or in a time for this user.
    LimitUserRequests = "limit-user-requests", 429, "Too many requests of this user";
    /// Too many connections.
    LimitConnections = "limit-connections", 503, "Too many connections";

    /// A fault of ours; the detail says where and what to report.
    Internal = "internal", 500, "Fault in Lodge";
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
