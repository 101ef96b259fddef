//! Wire types of the Lodge control API: what the operator tells a runner, what a client asks of a workspace, and the
//! problem documents that either gets back.
//!
//! Gateway, supervisor and vm process share these types and the paths in [`route`], so that a request is forwarded and
//! never translated. JSON is camelCase; requests refuse unknown fields, answers tolerate them.
//!
//! This crate must never know a client, a server, Kubernetes or the kernel: it is serde and text only.

pub mod area;
pub mod bytes;
pub mod config;
pub mod duration;
pub mod event;
pub mod exec;
pub mod file;
pub mod file_archive;
pub mod file_batch;
pub mod file_watch;
pub mod fsck;
pub mod header;
pub mod problem;
pub mod process;
pub mod route;
pub mod run;
pub mod shell;
pub mod software;
pub mod sse;
pub mod state;

pub use area::{Area, AreaError, Permission};
pub use bytes::Base64;
pub use config::{
    EnvVar, FileEntry, FilesMount, IdleConfig, LimitsConfig, MountConfig, MountSource, PowerIntent,
    SoftwareRef, StorageConfig, StorageType, TmpfsMount, UserConfig, VolumeMount, WorkspaceConfig,
};
pub use duration::WireDuration;
pub use event::{LoggedEvent, VmEvent};
pub use exec::{ExecRequest, ExecResponse};
pub use file::{
    AttributesRequest, CopyRequest, CopyResponse, DirEntry, FileStat, FileType, LinkRequest, ListResponse,
    MkdirRequest, MoveRequest,
};
pub use file_archive::ArchiveResponse;
pub use file_batch::{
    BatchReadFile, BatchReadRequest, BatchReadResponse, BatchReadResult, BatchWriteFile, BatchWriteRequest,
    BatchWriteResponse, BatchWriteResult,
};
pub use file_watch::{ChangedFile, FileChange};
pub use fsck::FsckResponse;
pub use problem::{Problem, ProblemCode};
pub use process::{
    KillRequest, OutputData, OutputMessage, OutputPage, OutputState, ProcessExit, ProcessInfo, ProcessList,
    ProcessRequest, ProcessState, SignalName, StdinMode, StdinResponse, StraceMessage,
};
pub use run::{Run, RunEnd, RunList, RunRequest};
pub use shell::{ResizeRequest, ShellControl, ShellInfo, ShellList, ShellMessage, ShellRequest};
pub use software::{SoftwareList, SoftwarePackage};
pub use state::{
    Health, Power, SleepReason, StorageState, Usage, Wake, WakeCause, WorkspaceChange, WorkspaceList,
    WorkspaceState,
};
