//! POSIX access control lists, as far as they say what the permission bits say.
//!
//! A list with entries for the owner, the owning group and others only is another way to write a mode, and is taken as
//! one. Lists that name further users or groups are `ENOTSUP`: accepting what nobody enforces would be worse. The
//! encoding is that of Linux' `system.posix_acl_access` attribute (`linux/posix_acl_xattr.h`).

use vm_abi::{Credentials, Errno, Mode};

use crate::error::VfsResult;
use crate::location::Location;

/// The list that decides about access.
const ACCESS: &[u8] = b"system.posix_acl_access";
/// The list that new files of a directory start with.
const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const OWNER: u16 = 0x01;
const OWNING_GROUP: u16 = 0x04;
const OTHERS: u16 = 0x20;

/// Whether an extended attribute of this name is a list.
pub(super) fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

impl Location {
    /// Takes a list as the mode that it says.
    ///
    /// # Errors
    /// `EINVAL` for what is no list, `ENOTSUP` for one that a mode cannot say, and those of `change_mode`.
    pub(super) fn set_acl(&self, credentials: &Credentials, name: &[u8], value: &[u8]) -> VfsResult<()> {
        let bits = permission_bits(value)?;
        if name == DEFAULT {
            return Err(Errno::ENOTSUP.into());
        }
        let special = self.stat()?.mode & 0o7000;
        self.change_mode(credentials, Mode::new(special | bits))
    }
}

/// The nine permission bits of a list with three entries.
fn permission_bits(value: &[u8]) -> Result<u32, Errno> {
    let (version, entries) = value.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
        return Err(Errno::EINVAL);
    }
    let (mut bits, mut seen) = (0, 0);
    for [tag_low, tag_high, low, high, ..] in entries {
        let tag = u16::from_le_bytes([*tag_low, *tag_high]);
        let permissions = u32::from(u16::from_le_bytes([*low, *high]));
        let shift = match tag {
            OWNER => 6,
            OWNING_GROUP => 3,
            OTHERS => 0,
            _ => return Err(Errno::ENOTSUP),
        };
        if seen & tag != 0 || permissions > 7 {
            return Err(Errno::EINVAL);
        }
        seen |= tag;
        bits |= permissions << shift;
    }
    if seen == OWNER | OWNING_GROUP | OTHERS { Ok(bits) } else { Err(Errno::EINVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, permissions) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(u32::MAX.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_list_of_three_entries_is_a_mode() {
        assert_eq!(permission_bits(&list(&[(OWNER, 6), (OWNING_GROUP, 4), (OTHERS, 0)])), Ok(0o640));
    }

    #[test]
    fn a_list_that_names_a_user_is_not_supported() {
        let named = list(&[(OWNER, 6), (0x02, 7), (OWNING_GROUP, 4), (0x10, 7), (OTHERS, 0)]);
        assert_eq!(permission_bits(&named), Err(Errno::ENOTSUP));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bytes in [&b""[..], b"\x02\0\0", b"\x01\0\0\0", &list(&[])[..], &list(&[(OWNER, 9)])[..]] {
            assert_eq!(permission_bits(bytes), Err(Errno::EINVAL), "{bytes:?}");
        }
        let mut cut = list(&[(OWNER, 6), (OWNING_GROUP, 4), (OTHERS, 0)]);
        cut.pop();
        assert_eq!(permission_bits(&cut), Err(Errno::EINVAL));
    }
}
