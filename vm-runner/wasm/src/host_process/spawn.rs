//! Starting programs: five spawn calls with one meaning, and two exec calls.

use vm_abi::{Errno, Mode, SignalSet};
use vm_kernel::syscall::{
    ExecRequest, FileAction, Pgid, ProgramName, SpawnAttributes, SpawnGroup, SpawnIds, SpawnRequest, process,
};
use wasmtime::{Caller, Val};

use super::file_action;
use crate::convert::{fd, signal_set};
use crate::guest::{Guest, split};
use crate::host_call::Answer;
use crate::memory::{GuestMemory, strings};
use crate::run::Unwind;

/// Longest name of a program or directory; the kernel refuses such paths, too.
const MAX_PATH_BYTES: u32 = 4096;
/// Longest list of folders to look in.
const MAX_PATH_LIST_BYTES: u32 = 128 << 10;
/// What a string costs besides its bytes, as Linux counts the pointers.
const STRING_OVERHEAD_BYTES: usize = 32;
/// Most fds that an exec closes by list; no process has more.
const MAX_CLOSED_FDS: u32 = 1 << 16;
/// Bytes of all file actions of one spawn.
const MAX_ACTION_BYTES: u32 = 1 << 20;
/// Stands for the null device among the three descriptors of the old calls.
const NULL_DEVICE: u32 = 0xffff_ffff;

/// Bits of the attributes.
mod attribute {
    pub(super) const RESET_IDS: u32 = 1;
    pub(super) const SET_GROUP: u32 = 2;
    pub(super) const SET_SIGNAL_DEFAULT: u32 = 4;
    pub(super) const SET_PRIORITY: u32 = 16;
    pub(super) const SET_SCHEDULER: u32 = 32;
    pub(super) const SET_SESSION: u32 = 128;
    /// Those above, the signal mask (which is always given), and `vfork`, which means nothing here.
    pub(super) const KNOWN: u32 = 0xff;
}

/// A `(pointer, length)` pair.
type Block = (u32, u32);

/// What all spawn calls say, still in guest memory.
struct Spawn {
    program: Option<Block>,
    search: Search,
    argv: Block,
    envp: Block,
    cwd: Block,
}

/// How a program name without a slash is found.
#[derive(Clone, Copy)]
enum Search {
    /// In `PATH` of the new environment.
    Environment,
    /// In this list.
    List(Block),
    /// It is a path.
    Never,
}

pub(super) async fn proc_spawn(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    argv: u32,
    argv_len: u32,
    envp: u32,
    envp_len: u32,
    stdin: u32,
    stdout: u32,
    stderr: u32,
    cwd: u32,
    cwd_len: u32,
    pid_out: u32,
) -> Result<(), Errno> {
    let spawn = Spawn {
        program: None,
        search: Search::Environment,
        argv: (argv, argv_len),
        envp: (envp, envp_len),
        cwd: (cwd, cwd_len),
    };
    let actions = standard_streams([stdin, stdout, stderr])?;
    spawn.run(guest, memory, actions, SpawnAttributes::default(), pid_out).await
}

pub(super) async fn proc_spawn_v2(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    exec: u32,
    exec_len: u32,
    argv: u32,
    argv_len: u32,
    envp: u32,
    envp_len: u32,
    stdin: u32,
    stdout: u32,
    stderr: u32,
    cwd: u32,
    cwd_len: u32,
    pid_out: u32,
) -> Result<(), Errno> {
    let spawn = Spawn {
        program: Some((exec, exec_len)),
        search: Search::Environment,
        argv: (argv, argv_len),
        envp: (envp, envp_len),
        cwd: (cwd, cwd_len),
    };
    let actions = standard_streams([stdin, stdout, stderr])?;
    spawn.run(guest, memory, actions, SpawnAttributes::default(), pid_out).await
}

pub(super) async fn proc_spawn_v3(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    exec: u32,
    exec_len: u32,
    argv: u32,
    argv_len: u32,
    envp: u32,
    envp_len: u32,
    actions: u32,
    actions_len: u32,
    cwd: u32,
    cwd_len: u32,
    attributes: u32,
    default_low: u32,
    default_high: u32,
    mask_low: u32,
    mask_high: u32,
    group: u32,
    pid_out: u32,
) -> Result<(), Errno> {
    let spawn = Spawn {
        program: Some((exec, exec_len)),
        search: Search::Environment,
        argv: (argv, argv_len),
        envp: (envp, envp_len),
        cwd: (cwd, cwd_len),
    };
    let defaults = signal_set(default_low, default_high);
    let attributes = decode_attributes(attributes, defaults, signal_set(mask_low, mask_high), group)?;
    let actions = decode_actions(guest, memory, (actions, actions_len))?;
    spawn.run(guest, memory, actions, attributes, pid_out).await
}

/// The parameters arrive as values, for there are too many to be typed.
pub(super) async fn proc_spawn_v4(caller: &mut Caller<'_, Guest>, parameters: &[Val]) -> Result<(), Errno> {
    let mut raw = [0; super::SPAWN_V4_PARAMETERS];
    for (raw, parameter) in raw.iter_mut().zip(parameters) {
        *raw = parameter.i32().ok_or(Errno::EINVAL)?.cast_unsigned();
    }
    let [
        exec,
        exec_len,
        argv,
        argv_len,
        envp,
        envp_len,
        actions,
        actions_len,
        cwd,
        cwd_len,
        search,
        search_len,
        bits,
        default_low,
        default_high,
        mask_low,
        mask_high,
        group,
        policy,
        priority,
        pid_out,
    ] = raw;
    let (mut memory, guest) = split(caller);
    let spawn = Spawn {
        program: Some((exec, exec_len)),
        search: if search == 0 { Search::Never } else { Search::List((search, search_len)) },
        argv: (argv, argv_len),
        envp: (envp, envp_len),
        cwd: (cwd, cwd_len),
    };
    check_scheduling(bits, policy, priority)?;
    let defaults = signal_set(default_low, default_high);
    let attributes = decode_attributes(bits, defaults, signal_set(mask_low, mask_high), group)?;
    let actions = decode_actions(guest, &memory, (actions, actions_len))?;
    spawn.run(guest, &mut memory, actions, attributes, pid_out).await
}

impl Spawn {
    async fn run(
        self,
        guest: &mut Guest,
        memory: &mut GuestMemory<'_>,
        actions: Vec<FileAction>,
        attributes: SpawnAttributes,
        pid_out: u32,
    ) -> Result<(), Errno> {
        memory.check(pid_out, 4)?;
        let argv = string_block(guest, memory, self.argv)?;
        let envp = string_block(guest, memory, self.envp)?;
        let cwd = path(memory, self.cwd)?;
        let program = match self.program {
            Some(block) => path(memory, block)?.to_vec(),
            None => argv.first().cloned().ok_or(Errno::ENOENT)?,
        };
        let request = SpawnRequest {
            program: program_name(memory, program, self.search)?,
            argv,
            envp,
            cwd: (!cwd.is_empty()).then(|| cwd.to_vec()),
            actions,
            attributes,
        };
        let pid = process::spawn(&guest.ctx, request).await?;
        memory.put_u32(pid_out, pid.raw().cast_unsigned())
    }
}

fn program_name(memory: &GuestMemory<'_>, name: Vec<u8>, search: Search) -> Result<ProgramName, Errno> {
    Ok(match search {
        Search::Environment => ProgramName::SearchEnv(name),
        Search::List((pointer, len)) => {
            if len > MAX_PATH_LIST_BYTES {
                return Err(Errno::E2BIG);
            }
            ProgramName::Search { name, path_list: memory.bytes(pointer, len)?.to_vec() }
        }
        Search::Never => ProgramName::Path(name),
    })
}

fn path<'a>(memory: &'a GuestMemory<'_>, (pointer, len): Block) -> Result<&'a [u8], Errno> {
    let path = memory.bytes(pointer, len)?;
    if len > MAX_PATH_BYTES { Err(Errno::ENAMETOOLONG) } else { Ok(path) }
}

fn string_block(
    guest: &Guest,
    memory: &GuestMemory<'_>,
    (pointer, len): Block,
) -> Result<Vec<Vec<u8>>, Errno> {
    let limit = guest.ctx.limits().max_args_bytes;
    let block = memory.bytes(pointer, len)?;
    if block.len() > limit {
        return Err(Errno::E2BIG);
    }
    let count = block.iter().filter(|byte| **byte == 0).count();
    if count * STRING_OVERHEAD_BYTES + block.len() > limit {
        return Err(Errno::E2BIG);
    }
    Ok(strings(block))
}

/// Priorities and policies other than the ordinary ones do not exist here.
fn check_scheduling(bits: u32, policy: u32, priority: u32) -> Result<(), Errno> {
    if bits & attribute::SET_SESSION != 0 && bits & attribute::SET_GROUP != 0 {
        return Err(Errno::EPERM);
    }
    if bits & (attribute::SET_PRIORITY | attribute::SET_SCHEDULER) != 0 && priority != 0 {
        return Err(Errno::EINVAL);
    }
    if bits & attribute::SET_SCHEDULER != 0 && policy != 0 {
        return Err(Errno::EPERM);
    }
    Ok(())
}

fn decode_attributes(
    bits: u32,
    defaults: SignalSet,
    mask: SignalSet,
    group: u32,
) -> Result<SpawnAttributes, Errno> {
    if bits & !attribute::KNOWN != 0 {
        return Err(Errno::ENOTSUP);
    }
    let group = if bits & attribute::SET_SESSION != 0 {
        SpawnGroup::OwnSession
    } else if bits & attribute::SET_GROUP == 0 {
        SpawnGroup::Inherit
    } else if group == 0 {
        SpawnGroup::Own
    } else {
        SpawnGroup::Join(Pgid::new(group.cast_signed()).ok_or(Errno::EINVAL)?)
    };
    Ok(SpawnAttributes {
        ids: if bits & attribute::RESET_IDS != 0 { SpawnIds::Reset } else { SpawnIds::Inherit },
        group,
        default_signals: if bits & attribute::SET_SIGNAL_DEFAULT == 0 { SignalSet::EMPTY } else { defaults },
        mask: Some(mask),
    })
}

/// File actions that make three descriptors the child's standard streams, even when one stands in another's way.
fn standard_streams(sources: [u32; 3]) -> Result<Vec<FileAction>, Errno> {
    /// Above every number that a guest uses for its own files.
    const ASIDE: u32 = 1000;
    let mut actions = Vec::new();
    let mut last = Vec::new();
    for (number, source) in (0..).zip(sources) {
        let target = fd(number)?;
        if source == NULL_DEVICE {
            let flags = vm_abi::OpenFlags::READ | vm_abi::OpenFlags::WRITE;
            last.push(FileAction::Open {
                fd: target,
                path: b"/dev/null".to_vec(),
                flags,
                mode: Mode::new(0),
            });
            continue;
        }
        let aside = fd(ASIDE + number)?;
        actions.push(FileAction::Dup2 { source: fd(source)?, target: aside });
        last.push(FileAction::Dup2 { source: aside, target });
        last.push(FileAction::Close(aside));
    }
    actions.append(&mut last);
    Ok(actions)
}

fn decode_actions(
    guest: &Guest,
    memory: &GuestMemory<'_>,
    (pointer, len): Block,
) -> Result<Vec<FileAction>, Errno> {
    if len > MAX_ACTION_BYTES {
        return Err(Errno::E2BIG);
    }
    file_action::decode(memory.bytes(pointer, len)?, guest.ctx.limits().max_file_actions)
}

/// Parameters of `proc_exec`: program, arguments, environment, and the array of fds to close.
pub(super) type ExecParameters = (u32, u32, u32, u32, u32, u32, u32, u32);
/// Parameters of `proc_fexec`: the program's fd, arguments, environment, and the array of fds to close.
pub(super) type FexecParameters = (u32, u32, u32, u32, u32, u32, u32);

/// Returns only when it fails: otherwise the old program ends here.
pub(super) async fn proc_exec(
    caller: &mut Caller<'_, Guest>,
    (exec, exec_len, argv, argv_len, envp, envp_len, close, count): ExecParameters,
) -> wasmtime::Result<i32> {
    let (memory, guest) = split(caller);
    let request = path(&memory, (exec, exec_len)).map(|name| ProgramName::SearchEnv(name.to_vec())).and_then(
        |program| exec_request(guest, &memory, program, (argv, argv_len), (envp, envp_len), (close, count)),
    );
    replace(guest, request).await
}

/// As `proc_exec`, with a program that is open already.
pub(super) async fn proc_fexec(
    caller: &mut Caller<'_, Guest>,
    (exec, argv, argv_len, envp, envp_len, close, count): FexecParameters,
) -> wasmtime::Result<i32> {
    let (memory, guest) = split(caller);
    let request = fd(exec).and_then(|fd| {
        exec_request(
            guest,
            &memory,
            ProgramName::Open(fd),
            (argv, argv_len),
            (envp, envp_len),
            (close, count),
        )
    });
    replace(guest, request).await
}

fn exec_request(
    guest: &Guest,
    memory: &GuestMemory<'_>,
    program: ProgramName,
    argv: Block,
    envp: Block,
    (close, count): Block,
) -> Result<ExecRequest, Errno> {
    if count > MAX_CLOSED_FDS {
        return Err(Errno::E2BIG);
    }
    let close = memory.u32_array(close, count)?.into_iter().map(fd).collect::<Result<_, _>>()?;
    let argv = string_block(guest, memory, argv)?;
    let envp = string_block(guest, memory, envp)?;
    Ok(ExecRequest { program, argv, envp, close })
}

async fn replace(guest: &Guest, request: Result<ExecRequest, Errno>) -> wasmtime::Result<i32> {
    let replaced = match request {
        Ok(request) => process::exec(&guest.ctx, request).await,
        Err(errno) => Err(errno),
    };
    match replaced {
        Ok(_replaced) => Err(wasmtime::Error::new(Unwind::Replaced)),
        Err(errno) => Ok(Err::<(), _>(errno).value()),
    }
}
