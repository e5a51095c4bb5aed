//! Whom a server runs as: the user of this program, or another one where this is root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;

/// Users without rights that a system has; the first that there is.
const WITHOUT_RIGHTS: [&str; 2] = ["postgres", "nobody"];

/// Whom programs are started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// Who runs this program.
    Same,
    /// Somebody without rights.
    Other {
        /// The user's number.
        user: u32,
        /// The number of the user's group.
        group: u32,
    },
}

impl Account {
    /// Servers that refuse to run as root are started as somebody without rights.
    pub(super) fn without_rights() -> Result<Self, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Same);
        }
        WITHOUT_RIGHTS
            .into_iter()
            .find_map(|name| {
                let (user, group) = (number("-u", name)?, number("-g", name)?);
                (user != 0).then_some(Self::Other { user, group })
            })
            .ok_or_else(|| {
                Failure::new(format!(
                    "this is root, which servers refuse to run as, and none of the users {} exists; run it as another user",
                    WITHOUT_RIGHTS.join(", ")
                ))
            })
    }

    /// Starts `command` as this account, without root's groups.
    pub(super) fn applied_to(self, command: &mut Command) {
        if let Self::Other { user, group } = self {
            command.uid(user).gid(group);
        }
    }

    /// Gives `path` to this account.
    pub(super) fn own(self, path: &Path) -> Result<(), Failure> {
        match self {
            Self::Same => Ok(()),
            Self::Other { user, group } => chown(path, Some(user), Some(group)).map_err(|error| {
                Failure::new(format!("{} cannot be given away: {error}", path.display()))
            }),
        }
    }
}

/// What `id` says of a user; `None` where there is no such user.
fn number(option: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([option, name]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.trim().parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_is_started_as_root() {
        match Account::without_rights().unwrap() {
            Account::Same => assert!(!rustix::process::geteuid().is_root()),
            Account::Other { user, group } => assert!(user != 0 && group != 0),
        }
    }

    #[test]
    fn a_user_that_is_not_there_has_no_number() {
        assert_eq!(number("-u", "root"), Some(0));
        assert_eq!(number("-u", "no-such-user-at-all"), None);
    }
}
