//! Changing a process's users and groups, by POSIX's rules.

use vm_abi::{Credentials, Errno};

/// Ids to set: `None` leaves one as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdChange<I> {
    /// The real id.
    pub real: Option<I>,
    /// The effective id.
    pub effective: Option<I>,
    /// The saved id.
    pub saved: Option<I>,
}

/// Whether a process may set any id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// It may: the effective user is root.
    Root,
    /// Only ids that it has.
    Ordinary,
}

/// Real, effective and saved id of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids<I> {
    pub(crate) real: I,
    pub(crate) effective: I,
    pub(crate) saved: I,
}

impl<I: Copy + PartialEq> Ids<I> {
    /// `setuid`: root becomes another user for good; others change the effective id to one they have.
    pub(crate) fn set(self, id: I, privilege: Privilege) -> Result<Self, Errno> {
        if privilege == Privilege::Root {
            return Ok(Self { real: id, effective: id, saved: id });
        }
        if id == self.real || id == self.saved {
            return Ok(Self { effective: id, ..self });
        }
        Err(Errno::EPERM)
    }

    /// `seteuid`.
    pub(crate) fn set_effective(self, id: I, privilege: Privilege) -> Result<Self, Errno> {
        self.set_all(IdChange { real: None, effective: Some(id), saved: None }, privilege)
    }

    /// `setreuid`: the saved id follows the effective one if the real one is set or the effective one is no longer
    /// the old real one.
    pub(crate) fn set_real_effective(
        self,
        real: Option<I>,
        effective: Option<I>,
        privilege: Privilege,
    ) -> Result<Self, Errno> {
        let may_be_real = |id: I| privilege == Privilege::Root || id == self.real || id == self.effective;
        let may_be_effective = |id: I| may_be_real(id) || id == self.saved;
        if !real.is_none_or(may_be_real) || !effective.is_none_or(may_be_effective) {
            return Err(Errno::EPERM);
        }
        let new_effective = effective.unwrap_or(self.effective);
        let saved_follows = real.is_some() || effective.is_some_and(|id| id != self.real);
        Ok(Self {
            real: real.unwrap_or(self.real),
            effective: new_effective,
            saved: if saved_follows { new_effective } else { self.saved },
        })
    }

    /// `setresuid`: each may become any of the three; root may set any.
    pub(crate) fn set_all(self, change: IdChange<I>, privilege: Privilege) -> Result<Self, Errno> {
        let IdChange { real, effective, saved } = change;
        let is_allowed =
            |id: I| privilege == Privilege::Root || [self.real, self.effective, self.saved].contains(&id);
        if ![real, effective, saved].into_iter().flatten().all(is_allowed) {
            return Err(Errno::EPERM);
        }
        Ok(Self {
            real: real.unwrap_or(self.real),
            effective: effective.unwrap_or(self.effective),
            saved: saved.unwrap_or(self.saved),
        })
    }
}

impl Privilege {
    fn of(credentials: &Credentials) -> Self {
        if credentials.is_privileged() { Self::Root } else { Self::Ordinary }
    }
}

/// Changes the users.
pub(crate) fn change_users(
    credentials: &mut Credentials,
    change: impl FnOnce(Ids<vm_abi::Uid>, Privilege) -> Result<Ids<vm_abi::Uid>, Errno>,
) -> Result<(), Errno> {
    let old = Ids { real: credentials.uid, effective: credentials.euid, saved: credentials.suid };
    let Ids { real, effective, saved } = change(old, Privilege::of(credentials))?;
    (credentials.uid, credentials.euid, credentials.suid) = (real, effective, saved);
    Ok(())
}

/// Changes the groups.
pub(crate) fn change_groups(
    credentials: &mut Credentials,
    change: impl FnOnce(Ids<vm_abi::Gid>, Privilege) -> Result<Ids<vm_abi::Gid>, Errno>,
) -> Result<(), Errno> {
    let old = Ids { real: credentials.gid, effective: credentials.egid, saved: credentials.sgid };
    let Ids { real, effective, saved } = change(old, Privilege::of(credentials))?;
    (credentials.gid, credentials.egid, credentials.sgid) = (real, effective, saved);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{IdChange, Ids, Privilege};
    use vm_abi::Errno;

    const USER: Ids<u32> = Ids { real: 1, effective: 2, saved: 3 };

    #[test]
    fn root_becomes_another_user_for_good() {
        assert_eq!(USER.set(9, Privilege::Root), Ok(Ids { real: 9, effective: 9, saved: 9 }));
    }

    #[test]
    fn others_move_among_the_ids_they_have() {
        assert_eq!(USER.set(3, Privilege::Ordinary), Ok(Ids { effective: 3, ..USER }));
        assert_eq!(USER.set(9, Privilege::Ordinary), Err(Errno::EPERM));
        assert_eq!(USER.set_effective(1, Privilege::Ordinary), Ok(Ids { effective: 1, ..USER }));
        let swap = IdChange { real: Some(2), effective: Some(1), saved: None };
        assert_eq!(USER.set_all(swap, Privilege::Ordinary), Ok(Ids { real: 2, effective: 1, saved: 3 }));
        let foreign = IdChange { real: None, effective: None, saved: Some(9) };
        assert_eq!(USER.set_all(foreign, Privilege::Ordinary), Err(Errno::EPERM));
    }

    #[test]
    fn the_saved_id_follows_the_effective_one_when_the_real_one_is_set() {
        assert_eq!(
            USER.set_real_effective(Some(2), Some(1), Privilege::Ordinary),
            Ok(Ids { real: 2, effective: 1, saved: 1 })
        );
        assert_eq!(
            USER.set_real_effective(None, Some(1), Privilege::Ordinary),
            Ok(Ids { effective: 1, ..USER })
        );
        assert_eq!(USER.set_real_effective(Some(3), None, Privilege::Ordinary), Err(Errno::EPERM));
    }
}
