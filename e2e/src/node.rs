//! The node from outside: processes and files of the runner pods, as root on the machine sees them.

use crate::cluster::Cluster;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// A process on the node.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id on the node.
    pub pid: i32,
    /// Its arguments, joined by blanks.
    pub command_line: String,
}

/// The processes in the cgroups of a pod.
///
/// # Errors
/// If the node's process table can't be read.
pub fn processes_of_pod(pod_uid: &str) -> Result<Vec<Process>> {
    let dashed = pod_uid.to_owned();
    let underscored = pod_uid.replace('-', "_");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("the node's /proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(cgroup) = std::fs::read_to_string(path.join("cgroup")) else { continue };
        if !cgroup.contains(&dashed) && !cgroup.contains(&underscored) {
            continue;
        }
        let Ok(arguments) = std::fs::read(path.join("cmdline")) else { continue };
        let command_line = String::from_utf8_lossy(&arguments).replace('\0', " ").trim().to_owned();
        found.push(Process { pid, command_line });
    }
    Ok(found)
}

/// The vm processes (awake workspaces and spares) in a pod.
///
/// # Errors
/// If the node's process table can't be read.
pub fn vm_processes(pod_uid: &str) -> Result<Vec<Process>> {
    let mut all = processes_of_pod(pod_uid)?;
    all.retain(|process| process.command_line.contains(" vm --"));
    Ok(all)
}

/// The vm process that a workspace runs in: the one that holds its files open.
///
/// # Errors
/// If it is asleep.
pub fn vm_process_of(pod_uid: &str, workspace_uid: &str) -> Result<Process> {
    let holds = |process: &Process| {
        let Ok(open) = std::fs::read_dir(format!("/proc/{}/fd", process.pid)) else { return false };
        open.flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .any(|path| path.to_string_lossy().contains(workspace_uid))
    };
    vm_processes(pod_uid)?.into_iter().find(holds).with_context(|| {
        format!("no vm process of pod {pod_uid} has files of workspace {workspace_uid} open")
    })
}

/// Kills a process of this test's own pods with SIGKILL.
///
/// # Errors
/// If `kill` fails.
pub fn kill(process: &Process) -> Result<()> {
    let pid = process.pid.to_string();
    crate::command::run(&mut crate::command::command("kill", ["-9", &pid]))?.success()?;
    Ok(())
}

/// The folder on the node that holds the runner's volume of a namespace.
///
/// # Errors
/// If there is no such volume.
pub fn volume_folder(cluster: &Cluster, namespace: &str, runner: &str) -> Result<PathBuf> {
    claim_folder(cluster, namespace, &format!("data-{runner}"))
}

/// The folder on the node that holds the volume of a claim.
///
/// # Errors
/// If there is no such volume, or it is none of the local cluster's.
pub fn claim_folder(cluster: &Cluster, namespace: &str, claim: &str) -> Result<PathBuf> {
    let volume = cluster.field(namespace, &format!("pvc/{claim}"), ".spec.volumeName")?;
    let path = cluster.field(namespace, &format!("pv/{volume}"), ".spec.local.path")?;
    anyhow::ensure!(!path.is_empty(), "volume {volume} is no folder of this machine");
    Ok(PathBuf::from(path))
}
