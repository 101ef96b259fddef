//! Paths of the API, in one place. `Workspace` gives the routes of one workspace, at a runner or at the gateway; they
//! differ in their base only.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All workspaces of a runner.
pub const WORKSPACES: &str = "/v1/workspaces";
/// Changes of a runner's workspaces, as server-sent events.
pub const WATCH: &str = "/v1/watch";
/// The software that a runner offers.
pub const SOFTWARE: &str = "/v1/software";
/// Whether the process lives.
pub const HEALTHZ: &str = "/healthz";
/// Whether the process can serve.
pub const READYZ: &str = "/readyz";
/// OpenMetrics text.
pub const METRICS: &str = "/metrics";
/// The OpenAPI document of a runner.
pub const OPENAPI: &str = "/openapi.json";
/// Hands its configuration to a vm process; only on its own socket.
pub const BOOT: &str = "/boot";

/// Bytes that stay as they are in a path segment.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'@');
/// The same, with slashes.
const PATH: &AsciiSet = &SEGMENT.remove(b'/').remove(b'+').remove(b',').remove(b'=');

/// The routes of one workspace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workspace {
    base: String,
}

impl Workspace {
    /// At a runner.
    #[must_use]
    pub fn at_runner(uid: &str) -> Self {
        Self { base: format!("{WORKSPACES}/{}", utf8_percent_encode(uid, SEGMENT)) }
    }

    /// At the gateway.
    #[must_use]
    pub fn at_gateway(namespace: &str, name: &str) -> Self {
        let namespace = utf8_percent_encode(namespace, SEGMENT);
        let name = utf8_percent_encode(name, SEGMENT);
        Self { base: format!("/v1/namespaces/{namespace}/workspaces/{name}") }
    }

    /// The workspace itself.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The workspace itself, fenced by an epoch (for DELETE).
    #[must_use]
    pub fn base_with_epoch(&self, epoch: u64) -> String {
        format!("{}?epoch={epoch}", self.base)
    }

    /// Runs a command.
    #[must_use]
    pub fn exec(&self) -> String {
        format!("{}/{EXEC}", self.base)
    }

    /// The processes; starts one.
    #[must_use]
    pub fn processes(&self) -> String {
        format!("{}/{PROCESSES}", self.base)
    }

    /// A process, or what `action` is about: `wait`, `kill`, `stdin`, `output`, `strace`; empty for the process itself.
    #[must_use]
    pub fn process(&self, pid: i32, action: &str) -> String {
        item(&self.processes(), &pid.to_string(), action)
    }

    /// The shells; starts one.
    #[must_use]
    pub fn shells(&self) -> String {
        format!("{}/{SHELLS}", self.base)
    }

    /// A shell, or what `action` is about: `attach`, `resize`; empty for the shell itself.
    #[must_use]
    pub fn shell(&self, id: &str, action: &str) -> String {
        item(&self.shells(), &utf8_percent_encode(id, SEGMENT).to_string(), action)
    }

    /// The runs: commands that begin at most once.
    #[must_use]
    pub fn runs(&self) -> String {
        format!("{}/{RUNS}", self.base)
    }

    /// A run, or what `action` is about: `stop`; empty for the run itself.
    #[must_use]
    pub fn run(&self, name: &str, action: &str) -> String {
        item(&self.runs(), &utf8_percent_encode(name, SEGMENT).to_string(), action)
    }

    /// What happens in the VM, as server-sent events.
    #[must_use]
    pub fn events(&self) -> String {
        format!("{}/{EVENTS}", self.base)
    }

    /// Whether the VM serves.
    #[must_use]
    pub fn health(&self) -> String {
        format!("{}/{HEALTH}", self.base)
    }

    /// Boots the VM.
    #[must_use]
    pub fn wake(&self) -> String {
        format!("{}/{WAKE}", self.base)
    }

    /// Stops the VM.
    #[must_use]
    pub fn sleep(&self) -> String {
        format!("{}/{SLEEP}", self.base)
    }

    /// Checks the kept files for consistency.
    #[must_use]
    pub fn fsck(&self) -> String {
        format!("{}/{FSCK}", self.base)
    }

    /// A file's content. `path` is absolute, or is taken as if it were.
    #[must_use]
    pub fn file(&self, path: &str) -> String {
        format!("{}/{FILES}/{}", self.base, utf8_percent_encode(path.trim_start_matches('/'), PATH))
    }

    /// A file's attributes.
    #[must_use]
    pub fn stat(&self, path: &str) -> String {
        format!("{}?stat", self.file(path))
    }

    /// A directory's entries, down to `depth` levels.
    #[must_use]
    pub fn list(&self, path: &str, depth: u32) -> String {
        format!("{}?list&depth={depth}", self.file(path))
    }

    /// Makes a directory.
    #[must_use]
    pub fn mkdir(&self) -> String {
        format!("{}/{MKDIR}", self.base)
    }

    /// Moves a file.
    #[must_use]
    pub fn rename(&self) -> String {
        format!("{}/{MOVE}", self.base)
    }

    /// Copies a file or a tree.
    #[must_use]
    pub fn copy(&self) -> String {
        format!("{}/{COPY}", self.base)
    }

    /// Makes a link.
    #[must_use]
    pub fn link(&self) -> String {
        format!("{}/{LINK}", self.base)
    }

    /// Reads many files.
    #[must_use]
    pub fn batch_read(&self) -> String {
        format!("{}/{BATCH_READ}", self.base)
    }

    /// Writes many files.
    #[must_use]
    pub fn batch_write(&self) -> String {
        format!("{}/{BATCH_WRITE}", self.base)
    }

    /// A tree as a tar archive.
    #[must_use]
    pub fn archive(&self, path: &str) -> String {
        format!("{}/{ARCHIVE}?path={}", self.base, utf8_percent_encode(path, SEGMENT))
    }

    /// What happens to a file, or in a directory.
    #[must_use]
    pub fn watch(&self, path: &str) -> String {
        format!("{}?watch", self.file(path))
    }
}

/// Area of [`Workspace::exec`].
pub const EXEC: &str = "exec";
/// Area of [`Workspace::processes`].
pub const PROCESSES: &str = "processes";
/// Area of [`Workspace::shells`].
pub const SHELLS: &str = "shells";
/// Area of [`Workspace::runs`].
pub const RUNS: &str = "runs";
/// Area of [`Workspace::events`].
pub const EVENTS: &str = "events";
/// Area of [`Workspace::health`].
pub const HEALTH: &str = "health";
/// Area of [`Workspace::wake`].
pub const WAKE: &str = "wake";
/// Area of [`Workspace::sleep`].
pub const SLEEP: &str = "sleep";
/// Area of [`Workspace::fsck`].
pub const FSCK: &str = "files:fsck";
/// Area of [`Workspace::file`].
pub const FILES: &str = "files";
/// Area of [`Workspace::mkdir`].
pub const MKDIR: &str = "files:mkdir";
/// Area of [`Workspace::rename`].
pub const MOVE: &str = "files:move";
/// Area of [`Workspace::copy`].
pub const COPY: &str = "files:copy";
/// Area of [`Workspace::link`].
pub const LINK: &str = "files:link";
/// Area of [`Workspace::batch_read`].
pub const BATCH_READ: &str = "files:batchRead";
/// Area of [`Workspace::batch_write`].
pub const BATCH_WRITE: &str = "files:batchWrite";
/// Area of [`Workspace::archive`].
pub const ARCHIVE: &str = "files:archive";

fn item(collection: &str, id: &str, action: &str) -> String {
    if action.is_empty() { format!("{collection}/{id}") } else { format!("{collection}/{id}/{action}") }
}

/// Splits an area `{collection}/{id}[/{action}]` into id and action (empty for the item itself). The id keeps its
/// percent-encoding.
#[must_use]
pub fn split_item<'a>(area: &'a str, collection: &str) -> Option<(&'a str, &'a str)> {
    let rest = area.strip_prefix(collection)?.strip_prefix('/')?;
    let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
    let is_whole = !id.is_empty() && !rest.ends_with('/');
    is_whole.then_some((id, action))
}

/// Splits a runner's path `/v1/workspaces/{uid}[/{area…}]` into uid and area (empty for the workspace itself).
/// The area keeps its percent-encoding.
#[must_use]
pub fn split_runner_path(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix(WORKSPACES)?.strip_prefix('/')?;
    let (uid, area) = rest.split_once('/').unwrap_or((rest, ""));
    (!uid.is_empty()).then_some((uid, area))
}

/// Splits a gateway's path `/v1/namespaces/{namespace}/workspaces/{name}[/{area…}]`.
#[must_use]
pub fn split_gateway_path(path: &str) -> Option<(&str, &str, &str)> {
    let rest = path.strip_prefix("/v1/namespaces/")?;
    let (namespace, rest) = rest.split_once('/')?;
    let rest = rest.strip_prefix("workspaces/")?;
    let (name, area) = rest.split_once('/').unwrap_or((rest, ""));
    (!namespace.is_empty() && !name.is_empty()).then_some((namespace, name, area))
}

/// The guest path that a `files/…` area names, as bytes: percent-decoded, absolute.
#[must_use]
pub fn guest_path(area: &str) -> Option<Vec<u8>> {
    let encoded = area.strip_prefix(FILES)?;
    if !encoded.is_empty() && !encoded.starts_with('/') {
        return None;
    }
    let mut path: Vec<u8> = percent_decode_str(encoded).collect();
    if path.is_empty() {
        path.push(b'/');
    }
    Some(path)
}

/// The bytes of a percent-encoded guest path (`pathEncoded`).
#[must_use]
pub fn decode_guest_path(encoded: &str) -> Vec<u8> {
    percent_decode_str(encoded).collect()
}

/// Percent-encodes the bytes of a guest path as [`Workspace::file`] does.
#[must_use]
pub fn encode_guest_path(path: &[u8]) -> String {
    percent_encoding::percent_encode(path, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_a_workspace_differ_in_their_base_only() {
        let runner = Workspace::at_runner("u-1");
        let gateway = Workspace::at_gateway("team-a", "ada");
        assert_eq!(runner.exec(), "/v1/workspaces/u-1/exec");
        assert_eq!(gateway.exec(), "/v1/namespaces/team-a/workspaces/ada/exec");
    }

    #[test]
    fn a_file_route_leads_back_to_its_path() {
        for path in ["/", "/home/agent/a b", "/ä/ü?x=1#y", "/100%/%00", "/a//b/"] {
            let route = Workspace::at_runner("u").file(path);
            let (_, area) = split_runner_path(&route).unwrap();
            assert_eq!(guest_path(area).unwrap(), path.as_bytes(), "{route}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_have_a_route_too() {
        let encoded = encode_guest_path(b"/\xff\xfe");
        assert_eq!(guest_path(&format!("files{encoded}")).unwrap(), b"/\xff\xfe");
    }

    #[test]
    fn a_gateway_path_is_split_into_namespace_name_and_area() {
        assert_eq!(
            split_gateway_path("/v1/namespaces/a/workspaces/b/files/x/y"),
            Some(("a", "b", "files/x/y"))
        );
        assert_eq!(split_gateway_path("/v1/namespaces/a/workspaces/b"), Some(("a", "b", "")));
        assert_eq!(split_gateway_path("/v1/namespaces//workspaces/b"), None);
    }

    #[test]
    fn an_item_is_split_into_its_id_and_what_is_wanted() {
        let route = Workspace::at_runner("u").process(7, "kill");
        let (_, area) = split_runner_path(&route).unwrap();
        assert_eq!(split_item(area, PROCESSES), Some(("7", "kill")));
        assert_eq!(split_item("shells/a", SHELLS), Some(("a", "")));
        for area in ["shells", "shells/", "shells/a/", "shellsa/b", "processes/7"] {
            assert_eq!(split_item(area, SHELLS), None, "{area}");
        }
    }

    #[test]
    fn actions_on_files_are_not_paths_of_files() {
        assert_eq!(guest_path("files:mkdir"), None);
        assert_eq!(guest_path("files"), Some(b"/".to_vec()));
    }
}
