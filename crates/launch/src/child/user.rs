//! Who a process runs as: `user[:group]` looked up in the container's own
//! `/etc/passwd` and `/etc/group`, by the rules of Docker (moby/sys `user`,
//! `GetExecUser`): numbers need no entry, names do; supplementary groups are
//! given only where no group was named, and those that were asked for always.

use std::io::Read;
use std::os::fd::BorrowedFd;

use casemate_model::UserSpec;
use casemate_tree::beneath::open_in;
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use crate::error::SetupStep;
use crate::report::{AtStep, StepError, StepResult};

/// More accounts than that are kept in other places than a file. The memory is
/// this program's, and the file a stranger's.
const LARGEST_FILE: u64 = 16 << 20;

/// The kernel has more; Docker takes what fits a signed number.
const LARGEST_ID: u32 = i32::MAX as u32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// With the primary group first.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

pub(crate) fn look_up(root: BorrowedFd<'_>, user: &UserSpec, additional: &[String]) -> StepResult<Identity> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    identify(user, additional, &passwd, &group)
}

/// A missing file is an empty one; what is no ordinary file is refused, and
/// never waited for.
fn read(root: BorrowedFd<'_>, path: &str) -> StepResult<String> {
    let read = || -> Result<Vec<u8>, Errno> {
        let regular = |fd: &std::os::fd::OwnedFd| -> Result<(), Errno> {
            match FileType::from_raw_mode(fstat(fd)?.st_mode) {
                FileType::RegularFile => Ok(()),
                _ => Err(Errno::INVAL),
            }
        };
        // First without opening it: to open a device is to do something to it.
        match open_in(root, path.as_bytes(), OFlags::PATH) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            found => regular(&found?)?,
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open_in(root, path.as_bytes(), flags)?;
        regular(&file)?;
        let mut bytes = Vec::new();
        let read = std::fs::File::from(file).take(LARGEST_FILE + 1).read_to_end(&mut bytes);
        read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if bytes.len() as u64 > LARGEST_FILE { Err(Errno::FBIG) } else { Ok(bytes) }
    };
    let bytes = read().at(SetupStep::ReadUsers, path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Lines that do not give numbers where numbers belong are passed over. (Docker
/// reads such a number as 0, which is root.)
fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

/// Name, number and members of each group.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn identify(user: &UserSpec, additional: &[String], passwd: &str, group: &str) -> StepResult<Identity> {
    let wanted = user.user.as_deref().unwrap_or("0");
    let number = parse_id(wanted)?;
    let account = accounts(passwd).find(|a| number.map_or(a.name == wanted, |uid| a.uid == uid));
    let (uid, mut gid, home) = match (&account, number) {
        (Some(account), _) => (account.uid, account.gid, account.home),
        (None, Some(uid)) => (uid, 0, ""),
        (None, None) => return Err(StepError::new(SetupStep::FindUser, wanted, Errno::NOENT)),
    };
    let mut supplementary = Vec::new();
    match (&user.group, &account) {
        (Some(wanted), _) => {
            gid = group_id(wanted, group)?;
        }
        (None, Some(account)) => {
            let member = |members: &str| members.split(',').any(|m| m.trim() == account.name);
            supplementary.extend(groups(group).filter(|(_, _, m)| member(m)).map(|(_, gid, _)| gid));
        }
        (None, None) => {}
    }
    for wanted in additional {
        supplementary.push(group_id(wanted, group)?);
    }
    for id in [uid, gid] {
        if id > LARGEST_ID {
            return Err(StepError::new(SetupStep::CheckId, id.to_string(), Errno::RANGE));
        }
    }
    // The primary group too, or a process could shed a group that denies it
    // something (CVE-2022-36109).
    let mut all = vec![gid];
    for group in supplementary.into_iter().filter(|g| *g <= LARGEST_ID) {
        if !all.contains(&group) {
            all.push(group);
        }
    }
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, groups: all, home: home.to_owned() })
}

/// A group's number, by its name or as it is.
fn group_id(wanted: &str, group: &str) -> StepResult<u32> {
    match parse_id(wanted)? {
        Some(gid) => Ok(gid),
        None => match groups(group).find(|(name, _, _)| *name == wanted) {
            Some((_, gid, _)) => Ok(gid),
            None => Err(StepError::new(SetupStep::FindGroup, wanted, Errno::NOENT)),
        },
    }
}

/// A number, if it is one; a number that is none of the kernel's is an error.
fn parse_id(text: &str) -> StepResult<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id <= LARGEST_ID => Ok(Some(id)),
        _ => Err(StepError::new(SetupStep::CheckId, text, Errno::RANGE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        bad:x:zero:0::/:\n\
        web:x:33:34:Web:/srv/web:/bin/sh\n\
        1234:x:77:77::/seventy:\n\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlog:x:4:web,root\nwheel:x:10: web \nbad:x::web\n";

    fn id(spec: &str) -> Result<Identity, (SetupStep, String)> {
        identify(&spec.parse().unwrap(), &[], PASSWD, GROUP).map_err(|e| (e.step, e.subject))
    }

    #[test]
    fn names_numbers_and_groups() {
        let ok = |uid, gid, groups: &[u32], home: &str| {
            Ok(Identity { uid, gid, groups: groups.to_vec(), home: home.to_owned() })
        };
        assert_eq!(id(""), ok(0, 0, &[0, 4], "/root"));
        assert_eq!(id("web"), ok(33, 34, &[34, 4, 10], "/srv/web"));
        assert_eq!(id("33"), ok(33, 34, &[34, 4, 10], "/srv/web"));
        assert_eq!(id("web:log"), ok(33, 4, &[4], "/srv/web"));
        assert_eq!(id("5000"), ok(5000, 0, &[0], "/"));
        assert_eq!(id("5000:6000"), ok(5000, 6000, &[6000], "/"));
        assert_eq!(id(":log"), ok(0, 4, &[4], "/root"));
        // A name of digits is a number.
        assert_eq!(id("1234"), ok(1234, 0, &[0], "/"));
        assert_eq!(id("nope"), Err((SetupStep::FindUser, "nope".to_owned())));
        assert_eq!(id("bad"), Err((SetupStep::FindUser, "bad".to_owned())));
        assert_eq!(id("web:nope"), Err((SetupStep::FindGroup, "nope".to_owned())));
        for bad in ["-1", "2147483648", "4294967295", "99999999999999", "0:-1"] {
            assert!(matches!(id(bad), Err((SetupStep::CheckId, _))), "{bad}");
        }
    }

    #[test]
    fn groups_that_were_asked_for() {
        let groups = |user: &str, additional: &[&str]| {
            let additional: Vec<String> = additional.iter().map(|g| (*g).to_owned()).collect();
            identify(&user.parse().unwrap(), &additional, PASSWD, GROUP).map(|id| id.groups).map_err(|e| e.step)
        };
        assert_eq!(groups("web", &["777", "root", "log", "777"]), Ok(vec![34, 4, 10, 777, 0]));
        assert_eq!(groups("web:web", &["log"]), Ok(vec![34, 4]));
        assert_eq!(groups("web", &["nope"]), Err(SetupStep::FindGroup));
        assert_eq!(groups("web", &["-1"]), Err(SetupStep::CheckId));
    }

    #[test]
    fn an_account_with_an_impossible_number_is_refused() {
        let passwd = "evil:x:4294967295:0::/:\n";
        let error = identify(&"evil".parse().unwrap(), &[], passwd, "").unwrap_err();
        assert_eq!(error.step, SetupStep::CheckId);
    }
}
