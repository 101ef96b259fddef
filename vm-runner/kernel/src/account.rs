//! The users and groups a VM knows by name. Programs ask through system calls; `/etc/passwd` is a matter of files.

use vm_abi::{Gid, Uid};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// The number.
    pub uid: Uid,
    /// The number of the user's own group.
    pub gid: Gid,
    /// The full name.
    pub full_name: String,
    /// The home directory.
    pub home: String,
    /// The shell.
    pub shell: String,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The number.
    pub gid: Gid,
    /// Login names of the members.
    pub members: Vec<String>,
}

/// All users and groups of a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// The users.
    pub users: Vec<Account>,
    /// The groups.
    pub groups: Vec<Group>,
}

impl Account {
    /// The line of `/etc/passwd`, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let Self { name, uid, gid, full_name, home, shell } = self;
        format!("{name}:x:{uid}:{gid}:{full_name}:{home}:{shell}")
    }
}

impl Group {
    /// The line of `/etc/group`, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let Self { name, gid, members } = self;
        format!("{name}:x:{gid}:{}", members.join(","))
    }
}

impl Accounts {
    /// Root, and its group.
    #[must_use]
    pub fn with_root() -> Self {
        let root = Account {
            name: "root".to_owned(),
            uid: Uid::ROOT,
            gid: Gid::ROOT,
            full_name: "root".to_owned(),
            home: "/root".to_owned(),
            shell: "/bin/sh".to_owned(),
        };
        Self {
            users: vec![root],
            groups: vec![Group { name: "root".to_owned(), gid: Gid::ROOT, members: Vec::new() }],
        }
    }

    /// Adds a user, and a group of the same name and number if there is none.
    #[must_use]
    pub fn with_user(mut self, account: Account) -> Self {
        if !self.groups.iter().any(|group| group.gid == account.gid) {
            self.groups.push(Group { name: account.name.clone(), gid: account.gid, members: Vec::new() });
        }
        self.users.push(account);
        self
    }

    /// The user of this number.
    #[must_use]
    pub fn user(&self, uid: Uid) -> Option<&Account> {
        self.users.iter().find(|user| user.uid == uid)
    }

    /// The user of this name.
    #[must_use]
    pub fn user_named(&self, name: &[u8]) -> Option<&Account> {
        self.users.iter().find(|user| user.name.as_bytes() == name)
    }

    /// The group of this number.
    #[must_use]
    pub fn group(&self, gid: Gid) -> Option<&Group> {
        self.groups.iter().find(|group| group.gid == gid)
    }

    /// The group of this name.
    #[must_use]
    pub fn group_named(&self, name: &[u8]) -> Option<&Group> {
        self.groups.iter().find(|group| group.name.as_bytes() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Accounts};
    use vm_abi::{Gid, Uid};

    #[test]
    fn records_read_as_in_etc_passwd_and_etc_group() {
        let accounts = Accounts::with_root().with_user(Account {
            name: "ada".to_owned(),
            uid: Uid(1000),
            gid: Gid(1000),
            full_name: "Ada".to_owned(),
            home: "/home/ada".to_owned(),
            shell: "/bin/sh".to_owned(),
        });
        let ada = accounts.user_named(b"ada").unwrap();
        assert_eq!(ada.to_line(), "ada:x:1000:1000:Ada:/home/ada:/bin/sh");
        assert_eq!(accounts.group(Gid(1000)).unwrap().to_line(), "ada:x:1000:");
        assert!(accounts.user(Uid(7)).is_none());
    }
}
