//! The memory of a runner: no VM beyond its own limit, and all of them together below the pod's.
//!
//! Once a second every vm process is looked at. One that uses more than `spec.limits.memory` and a stated overhead is
//! ended; the kernel's own accounting in the VM should have stopped the guest long before. When the runner as a whole
//! comes near its limit, or waits for memory, the VMs that have been idle longest are put to sleep. A busy VM within its
//! limit is never ended for the sake of others.
//!
//! Must never know a workspace's state: it asks the owners, who decide.
#![expect(clippy::disallowed_methods, reason = "host-facing: reads /proc and the cgroup's files")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::sync::mpsc;
use vm_api::{MountSource, StorageType, WorkspaceConfig};

use super::metrics::Metrics;
use super::uid::Uid;
use super::workspace::Request;

/// What a vm process may use beside its guests: engine, caches of files, connections, the files of mounts.
const OVERHEAD_BYTES: u64 = 256 << 20;
/// `/dev/shm` of a VM.
const SHARED_MEMORY_BYTES: u64 = 64 << 20;
/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Share of the limit, in percent, above which idle VMs are put to sleep, and below which that ends.
const HIGH_PERCENT: u64 = 90;
const LOW_PERCENT: u64 = 80;
/// Share of time, in percent, that something in the runner waits for memory (PSI `some avg10`), which counts as short of
/// memory too.
const HIGH_STALL_PERCENT: f64 = 20.0;

/// What the vm process of a workspace may use.
pub(crate) fn allowed_bytes(config: &WorkspaceConfig) -> u64 {
    let in_memory = config.mounts.iter().map(|mount| match &mount.source {
        MountSource::Tmpfs(tmpfs) => tmpfs.size_bytes,
        MountSource::Files(_) | MountSource::Volume(_) => 0,
    });
    let root = match config.storage.kind {
        StorageType::Ephemeral => config.storage.size_bytes,
        StorageType::Persistent => 0,
    };
    in_memory
        .chain([root, config.limits.memory_bytes, OVERHEAD_BYTES, SHARED_MEMORY_BYTES])
        .fold(0, u64::saturating_add)
}

/// Why a VM was ended, for people.
pub(crate) fn verdict(used_bytes: u64, allowed_bytes: u64, limit_bytes: u64) -> String {
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "the VM used {} MiB of memory and was ended: spec.limits.memory is {} MiB, and with its file systems in memory \
         and {} MiB of overhead it may use {} MiB",
        mib(used_bytes),
        mib(limit_bytes),
        mib(OVERHEAD_BYTES),
        mib(allowed_bytes)
    )
}

/// The vm processes of awake workspaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Residents {
    /// Guarded by itself; a leaf in the lock order.
    entries: Arc<Mutex<HashMap<Pid, Entry>>>,
}

#[derive(Clone, Debug)]
struct Entry {
    uid: Uid,
    allowed_bytes: u64,
    idle_since: Option<Instant>,
    owner: mpsc::WeakSender<Request>,
}

/// A place among the [`Residents`], given up when dropped.
#[derive(Debug)]
pub(crate) struct Resident {
    residents: Residents,
    pid: Pid,
}

impl Residents {
    /// Watches a vm process from now on.
    pub(crate) fn enter(
        &self,
        uid: Uid,
        pid: Pid,
        allowed_bytes: u64,
        owner: mpsc::WeakSender<Request>,
    ) -> Resident {
        self.lock().insert(pid, Entry { uid, allowed_bytes, idle_since: None, owner });
        Resident { residents: self.clone(), pid }
    }

    /// Looks at all of them, for ever.
    pub(crate) async fn watch(self, limit_bytes: Option<u64>, metrics: Arc<Metrics>) -> Infallible {
        let cgroup = Cgroup::find();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (residents, cgroup) = (self.clone(), cgroup.clone());
            let looked = tokio::task::spawn_blocking(move || {
                let used = residents.measure();
                let own = used.iter().map(|(_, used)| *used).sum();
                (used, read_pressure(limit_bytes, own, cgroup.as_ref()))
            });
            let Ok((used, pressure)) = looked.await else { continue };
            self.end_those_over(&used);
            if let Some(pressure) = pressure {
                metrics.set_memory(pressure.used_bytes, pressure.limit_bytes, pressure.stall_percent);
                self.relieve(&used, &pressure);
            }
        }
    }

    /// What each uses. Blocks shortly.
    fn measure(&self) -> Vec<(Pid, u64)> {
        let pids: Vec<Pid> = self.lock().keys().copied().collect();
        pids.into_iter().filter_map(|pid| Some((pid, resident_bytes(pid)?))).collect()
    }

    fn end_those_over(&self, used: &[(Pid, u64)]) {
        for (pid, used_bytes) in used {
            let Some(Entry { uid, allowed_bytes, idle_since: _, owner }) = self.lock().get(pid).cloned()
            else {
                continue;
            };
            if *used_bytes > allowed_bytes {
                tracing::warn!(workspace = %uid, used_bytes, allowed_bytes, "a VM uses more memory than it may");
                tell(&owner, Request::OverMemory { used_bytes: *used_bytes, allowed_bytes });
            }
        }
    }

    fn relieve(&self, used: &[(Pid, u64)], pressure: &Pressure) {
        let excess = pressure.excess_bytes();
        if excess == 0 {
            return;
        }
        let candidates: Vec<Candidate> = {
            let entries = self.lock();
            let idle = used.iter().filter_map(|(pid, used_bytes)| {
                let idle_since = entries.get(pid)?.idle_since?;
                Some(Candidate { pid: *pid, used_bytes: *used_bytes, idle_since })
            });
            idle.collect()
        };
        for pid in choose(candidates, excess) {
            let Some(entry) = self.lock().get(&pid).cloned() else { continue };
            tracing::info!(workspace = %entry.uid, "the runner is short of memory: an idle VM is put to sleep");
            tell(&entry.owner, Request::Relieve);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Pid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resident {
    /// Since when the VM is idle, as far as is known.
    pub(crate) fn set_idle_since(&self, idle_since: Option<Instant>) {
        if let Some(entry) = self.residents.lock().get_mut(&self.pid) {
            entry.idle_since = idle_since;
        }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.residents.lock().remove(&self.pid);
    }
}

/// An owner whose queue is full is told at the next look.
fn tell(owner: &mpsc::WeakSender<Request>, request: Request) {
    if let Some(owner) = owner.upgrade() {
        let _ = owner.try_send(request);
    }
}

/// An idle VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    pid: Pid,
    used_bytes: u64,
    idle_since: Instant,
}

/// Those that have been idle longest, until they hold as much as is wanted.
fn choose(mut candidates: Vec<Candidate>, wanted_bytes: u64) -> Vec<Pid> {
    candidates.sort_by_key(|candidate| candidate.idle_since);
    let mut found = 0_u64;
    let enough = candidates.into_iter().take_while(|candidate| {
        let is_needed = found < wanted_bytes;
        found = found.saturating_add(candidate.used_bytes.max(1));
        is_needed
    });
    enough.map(|candidate| candidate.pid).collect()
}

/// How a runner's memory is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pressure {
    used_bytes: u64,
    limit_bytes: u64,
    stall_percent: f64,
}

impl Pressure {
    /// What should be given back.
    fn excess_bytes(&self) -> u64 {
        let share = |percent: u64| self.limit_bytes / 100 * percent;
        let is_stalled = self.stall_percent >= HIGH_STALL_PERCENT && self.used_bytes > share(LOW_PERCENT);
        if self.used_bytes > share(HIGH_PERCENT) || is_stalled {
            self.used_bytes - share(LOW_PERCENT).min(self.used_bytes)
        } else {
            0
        }
    }
}

fn read_pressure(limit_bytes: Option<u64>, own_bytes: u64, cgroup: Option<&Cgroup>) -> Option<Pressure> {
    match limit_bytes {
        Some(limit_bytes) => {
            let supervisor = resident_bytes(rustix::process::getpid()).unwrap_or(0);
            let used_bytes = own_bytes.saturating_add(supervisor);
            Some(Pressure { used_bytes, limit_bytes, stall_percent: 0.0 })
        }
        None => cgroup?.read(),
    }
}

/// A cgroup of version 2 with a memory limit.
#[derive(Clone, Debug)]
struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// The cgroup of this process, if it has a limit. In a container its own cgroup is the root of what it sees.
    fn find() -> Option<Self> {
        let list = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = list.lines().find_map(|line| line.strip_prefix("0::"))?;
        let root = Path::new("/sys/fs/cgroup");
        let folders = [root.join(path.trim_start_matches('/')), root.to_owned()];
        let found = folders.into_iter().map(|folder| Self { folder }).find(|cgroup| cgroup.limit().is_some());
        if found.is_none() {
            tracing::info!(
                "no memory limit is known (--memory-limit sets one): only spec.limits.memory counts"
            );
        }
        found
    }

    fn limit(&self) -> Option<u64> {
        self.text("memory.max")?.trim().parse().ok()
    }

    fn read(&self) -> Option<Pressure> {
        let current: u64 = self.text("memory.current")?.trim().parse().ok()?;
        // What the host can take back without harm does not count, as the kubelet has it.
        let reclaimable =
            self.text("memory.stat").and_then(|text| field(&text, "inactive_file")).unwrap_or(0);
        Some(Pressure {
            used_bytes: current.saturating_sub(reclaimable),
            limit_bytes: self.limit()?,
            stall_percent: self.text("memory.pressure").and_then(|text| stall(&text)).unwrap_or(0.0),
        })
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }
}

/// The number of a line `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `avg10` of the line `some` of a PSI file.
fn stall(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|pair| pair.strip_prefix("avg10=")?.parse().ok())
}

/// What a process alone holds in memory: not the mapped software, which all share.
fn resident_bytes(pid: Pid) -> Option<u64> {
    own_bytes(&fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?)
}

fn own_bytes(status: &str) -> Option<u64> {
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some((kib("RssAnon:")? + kib("RssShmem:")?) << 10)
}

#[cfg(test)]
mod tests {
    use vm_api::{MountConfig, TmpfsMount};

    use super::*;

    fn candidate(pid: i32, used_bytes: u64, age: u64, now: Instant) -> Candidate {
        let pid = Pid::from_raw(pid).unwrap();
        Candidate { pid, used_bytes, idle_since: now - Duration::from_secs(age) }
    }

    #[test]
    fn those_that_are_idle_longest_go_first_and_no_more_than_needed() {
        let now = Instant::now() + Duration::from_secs(100);
        let all = vec![candidate(1, 10, 5, now), candidate(2, 10, 50, now), candidate(3, 10, 20, now)];
        let pids = |wanted| {
            choose(all.clone(), wanted).iter().map(|pid| pid.as_raw_nonzero().get()).collect::<Vec<_>>()
        };
        assert_eq!(pids(0), [] as [i32; 0]);
        assert_eq!(pids(5), [2]);
        assert_eq!(pids(11), [2, 3]);
        assert_eq!(pids(1000), [2, 3, 1]);
    }

    #[test]
    fn a_runner_is_short_of_memory_near_its_limit_or_when_it_waits_for_some() {
        let pressure = |used_bytes, stall_percent| Pressure { used_bytes, limit_bytes: 1000, stall_percent };
        assert_eq!(pressure(900, 0.0).excess_bytes(), 0);
        assert_eq!(pressure(901, 0.0).excess_bytes(), 101);
        assert_eq!(pressure(850, 30.0).excess_bytes(), 50);
        assert_eq!(pressure(100, 90.0).excess_bytes(), 0, "others on the node may be the reason");
    }

    #[test]
    fn the_files_of_proc_and_of_cgroups_are_read() {
        let status =
            "Name:\tvm\nVmRSS:\t  900 kB\nRssAnon:\t    100 kB\nRssFile:\t 700 kB\nRssShmem:\t     4 kB\n";
        assert_eq!(own_bytes(status), Some(104 << 10));
        assert_eq!(own_bytes("Name:\tvm\n"), None);
        assert_eq!(field("anon 5\ninactive_file 7\n", "inactive_file"), Some(7));
        assert_eq!(field("inactive_file_x 7\n", "inactive_file"), None);
        let psi = "some avg10=12.50 avg60=1.00 avg300=0.10 total=9\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(stall(psi), Some(12.5));
        assert!(resident_bytes(rustix::process::getpid()).is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn what_lives_in_memory_by_the_specification_is_allowed() {
        let mut config = WorkspaceConfig::new("a", "b");
        let base = allowed_bytes(&config);
        assert!(base > config.limits.memory_bytes);
        let source = MountSource::Tmpfs(TmpfsMount { size_bytes: 5 << 20 });
        config.mounts.push(MountConfig { path: "/t".to_owned(), read_only: false, source });
        assert_eq!(allowed_bytes(&config), base + (5 << 20));
        config.storage.kind = StorageType::Ephemeral;
        assert_eq!(allowed_bytes(&config), base + (5 << 20) + config.storage.size_bytes);
        assert!(verdict(1 << 30, base, config.limits.memory_bytes).contains("spec.limits.memory is 512 MiB"));
    }
}
