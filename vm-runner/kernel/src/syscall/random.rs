//! Random bytes.

use vm_abi::Errno;

use crate::context::ProcessContext;
use crate::trace::show::Room;
use crate::trace::traced;

/// Fills the buffer with random bytes.
///
/// # Errors
/// `EIO` if the source fails.
pub fn fill(ctx: &ProcessContext, buffer: &mut [u8]) -> Result<(), Errno> {
    traced!(ctx, "getrandom", [Room(buffer.len())], { ctx.kernel().random.fill(buffer) })
}
