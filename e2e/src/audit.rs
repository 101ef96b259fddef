//! The API server's audit log: who wrote what, to count writes.

use crate::cluster::Cluster;
use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{BufRead, BufReader, Seek, SeekFrom};

/// One write that the API server completed.
#[derive(Debug, Clone)]
pub struct Write {
    /// The user who asked.
    pub user: String,
    /// `create`, `update`, `patch` or `delete`.
    pub verb: String,
    /// `group/resource/subresource`.
    pub resource: String,
    /// Namespace and name of the object.
    pub object: String,
}

/// A place in the audit log, from which writes are counted.
#[derive(Debug)]
pub struct AuditMark {
    path: std::path::PathBuf,
    offset: u64,
}

impl AuditMark {
    /// The end of the log as it is now.
    ///
    /// # Errors
    /// If the cluster has no audit log.
    pub fn now(cluster: &Cluster) -> Result<Self> {
        let path = cluster.state.join("logs/audit.log");
        let offset =
            std::fs::metadata(&path).with_context(|| format!("no audit log {}", path.display()))?.len();
        Ok(Self { path, offset })
    }

    /// The successful writes since the mark, reviews of access and tokens left out (they store nothing).
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn writes(&self) -> Result<Vec<Write>> {
        let mut file = std::fs::File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut writes = Vec::new();
        for line in BufReader::new(file).lines() {
            let Ok(entry) = serde_json::from_str::<Value>(&line?) else { continue };
            writes.extend(completed_write(&entry));
        }
        Ok(writes)
    }
}

fn completed_write(entry: &Value) -> Option<Write> {
    let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let verb = text("/verb");
    let is_write = ["create", "update", "patch", "delete", "deletecollection"].contains(&verb.as_str());
    let code = entry.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default();
    let resource =
        [text("/objectRef/apiGroup"), text("/objectRef/resource"), text("/objectRef/subresource")].join("/");
    let is_review = resource.contains("reviews");
    if text("/stage") != "ResponseComplete" || !is_write || !(200..300).contains(&code) || is_review {
        return None;
    }
    let object = format!("{}/{}", text("/objectRef/namespace"), text("/objectRef/name"));
    Some(Write { user: text("/user/username"), verb, resource, object })
}
