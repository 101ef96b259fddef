//! Random bytes.

use vm_abi::Errno;

use crate::context::ProcessContext;

/// Fills the buffer with random bytes.
///
/// # Errors
/// `EIO` if the source fails.
pub fn fill(ctx: &ProcessContext, buffer: &mut [u8]) -> Result<(), Errno> {
    ctx.kernel().random.fill(buffer)
}
