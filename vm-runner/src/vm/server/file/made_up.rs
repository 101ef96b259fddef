//! Files that the kernel makes up when they are read: those of `/proc`.
//!
//! They tell a size of 0 and the VM's own times, whatever is in them, so neither their length nor an entity tag is known
//! before they are read. Whoever hands out such a file reads all of it at once: one reading is one state.

use vm_abi::Errno;
use vm_api::{Problem, ProblemCode};
use vm_vfs::{Location, VfsResult};

use super::Target;
use crate::vm::server::errno::shown;

/// How much is read at first.
const FIRST_BYTES: usize = 16 << 10;
/// The longest such file that is read. The limits of the specification keep them far shorter.
const MAX_BYTES: usize = 8 << 20;

/// Whether there is no content before somebody reads it.
pub(super) fn is_made_up(location: &Location) -> bool {
    location.file_type().is_regular() && location.mount().file_system().kind() == "proc"
}

/// What is in such a file now; `hold` is asked before memory is taken.
pub(super) fn read_whole(
    target: &Target<'_>,
    location: &Location,
    mut hold: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Vec<u8>, Problem> {
    let mut room = Some(FIRST_BYTES);
    while let Some(most) = room {
        hold(most)?;
        match try_read(location, most).map_err(|error| target.problem(error))? {
            Some(bytes) => return Ok(bytes),
            None => room = more(most),
        }
    }
    let detail = format!("{} is longer than {MAX_BYTES} bytes; read it by a command", shown(&target.path));
    Err(Problem::new(ProblemCode::ResponseTooLarge, detail).with_path(&target.path))
}

/// As [`read_whole`], for whoever writes it elsewhere at once.
///
/// # Errors
/// `EOVERFLOW` if it is too long.
pub(super) fn read_to_copy(location: &Location) -> VfsResult<Vec<u8>> {
    let mut room = Some(FIRST_BYTES);
    while let Some(most) = room {
        if let Some(bytes) = try_read(location, most)? {
            return Ok(bytes);
        }
        room = more(most);
    }
    Err(Errno::EOVERFLOW.into())
}

/// All of the file, if it is shorter than this. Pieces of several readings would be of several states.
fn try_read(location: &Location, room: usize) -> VfsResult<Option<Vec<u8>>> {
    let mut bytes = vec![0; room];
    let count = location.inode().read_at(0, &mut bytes)?;
    bytes.truncate(count);
    Ok((count < room).then_some(bytes))
}

fn more(room: usize) -> Option<usize> {
    (room < MAX_BYTES).then(|| (room * 4).min(MAX_BYTES))
}
