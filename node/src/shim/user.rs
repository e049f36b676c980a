//! Whose rights a task gets: users and groups by name or number.

use std::ffi::CString;

use nix::{
    errno::Errno,
    unistd::{
        Gid, Group, Uid, User, fchown, getegid, geteuid, getgrouplist, getgroups, setgid,
        setgroups, setuid,
    },
};

/// Why a task cannot have the rights it asks for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    #[error("user {0}")]
    Lookup(String, #[source] Errno),
    #[error("becoming user {user} with group {group}")]
    Refused { user: Uid, group: Gid, source: Errno },
}

impl Error {
    /// Returns what the system said; none when it was asked and knows no such name.
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            Self::UnknownUser(_) | Self::UnknownGroup(_) => None,
            Self::Lookup(_, errno) | Self::Refused { source: errno, .. } => Some(*errno),
        }
    }
}

/// A user with everything that decides about its rights.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Rights {
    user: Uid,
    group: Gid,
    /// All groups, `group` among them.
    groups: Vec<Gid>,
}

impl Rights {
    /// Looks up what a spec says: `USER[:GROUP]` (empty for what this process has) and further
    /// groups.
    ///
    /// A number without a name is a user whose group has the same number: unlike in a container,
    /// group 0 of a host owns files that matter.
    pub(super) fn look_up(user: &str, groups: &[String]) -> Result<Self, Error> {
        let mut rights = if user.is_empty() { Self::own()? } else { Self::of_user(user)? };
        for name in groups {
            let group = find_group(name)?;
            if !rights.groups.contains(&group) {
                rights.groups.push(group);
            }
        }
        Ok(rights)
    }

    /// What this process has.
    fn own() -> Result<Self, Error> {
        let mut groups =
            getgroups().map_err(|errno| Error::Lookup(geteuid().to_string(), errno))?;
        if !groups.contains(&getegid()) {
            groups.push(getegid());
        }
        Ok(Self { user: geteuid(), group: getegid(), groups })
    }

    fn of_user(text: &str) -> Result<Self, Error> {
        let (name, group) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let failed = |errno| Error::Lookup(name.to_owned(), errno);
        let number = name.parse().ok().map(Uid::from_raw);
        let found = match number {
            Some(number) => User::from_uid(number),
            None => User::from_name(name),
        }
        .map_err(failed)?;
        let (user, own_group) = match (&found, number) {
            (Some(user), _) => (user.uid, user.gid),
            (None, Some(number)) => (number, Gid::from_raw(number.as_raw())),
            (None, None) => return Err(Error::UnknownUser(name.to_owned())),
        };
        let group = match group.filter(|group| !group.is_empty()) {
            Some(group) => find_group(group)?,
            None => own_group,
        };
        let groups = match found.and_then(|user| CString::new(user.name).ok()) {
            Some(name) => getgrouplist(&name, group).map_err(failed)?,
            None => vec![group],
        };
        Ok(Self { user, group, groups })
    }

    /// Gives the user the ownership of this process's output, a pipe of its own, which a program
    /// may want to open again by name (`/dev/stdout`).
    pub(super) fn take_output(&self) -> Result<(), Error> {
        if self.user == geteuid() {
            return Ok(());
        }
        let refused = |source| self.refused(source);
        fchown(std::io::stdout(), Some(self.user), None).map_err(refused)?;
        fchown(std::io::stderr(), Some(self.user), None).map_err(refused)
    }

    /// Gives the rights to this process. Nothing happens when it has them already.
    pub(super) fn take(&self) -> Result<(), Error> {
        let refused = |source| self.refused(source);
        let own = Self::own()?;
        let has_groups = self.groups.iter().all(|group| own.groups.contains(group));
        if self.user == own.user && self.group == own.group && has_groups {
            return Ok(());
        }
        setgroups(&self.groups).map_err(refused)?;
        setgid(self.group).map_err(refused)?;
        setuid(self.user).map_err(refused)
    }

    fn refused(&self, source: Errno) -> Error {
        Error::Refused { user: self.user, group: self.group, source }
    }
}

fn find_group(name: &str) -> Result<Gid, Error> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name).map_err(|errno| Error::Lookup(name.to_owned(), errno))?;
    found.map(|group| group.gid).ok_or_else(|| Error::UnknownGroup(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look_up(user: &str, groups: &[&str]) -> Result<(u32, u32), String> {
        let groups: Vec<_> = groups.iter().map(|group| (*group).to_owned()).collect();
        Rights::look_up(user, &groups)
            .map(|rights| (rights.user.as_raw(), rights.group.as_raw()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn users_and_groups_by_name_and_number() {
        let own = (geteuid().as_raw(), getegid().as_raw());
        assert_eq!(look_up("", &[]), Ok(own));
        assert_eq!(look_up("root", &[]), Ok((0, 0)));
        assert_eq!(look_up("0", &[]), Ok((0, 0)));
        assert_eq!(look_up("root:4000000001", &[]), Ok((0, 4_000_000_001)));
        assert_eq!(look_up("4000000001", &[]), Ok((4_000_000_001, 4_000_000_001)));
        assert_eq!(look_up("4000000001:", &[]), Ok((4_000_000_001, 4_000_000_001)));
        assert_eq!(look_up("4000000001:root", &["17"]), Ok((4_000_000_001, 0)));
        assert_eq!(
            look_up("no-such-user", &[]),
            Err("unable to find user no-such-user: no matching entries in passwd file".into())
        );
        let no_group = Err("unable to find group no-group: no matching entries in group file");
        assert_eq!(look_up("root:no-group", &[]), no_group.map_err(str::to_owned));
        assert_eq!(look_up("root", &["no-group"]), no_group.map_err(str::to_owned));
    }

    #[test]
    fn further_groups_are_added_once() {
        let groups = ["17", "18", "17"].map(str::to_owned);
        let rights = Rights::look_up("4000000001", &groups).unwrap();
        assert_eq!(rights.groups, [4_000_000_001, 17, 18].map(Gid::from_raw));
    }

    proptest! {
        #[test]
        fn no_text_panics(user: String, group: String) {
            let _ = Rights::look_up(&format!("{user}:{group}"), &[group]);
            let _ = Rights::look_up(&user, &[]);
        }
    }
}
