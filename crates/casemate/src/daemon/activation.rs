//! Sockets that systemd has opened and hands over (sd_listen_fds(3)).
#![allow(unsafe_code, reason = "descriptors that come by their number are taken for owned once, here")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::{FdFlags, fcntl_setfd};

/// By the protocol, after the standard streams.
const FIRST: RawFd = 3;

/// A socket and what systemd calls it.
#[derive(Debug)]
pub(super) struct HandedOver {
    pub(super) fd: OwnedFd,
    pub(super) number: RawFd,
    pub(super) name: String,
}

/// Between [`claim`] and [`take`].
static CLAIMED: Mutex<Vec<HandedOver>> = Mutex::new(Vec::new());

/// Makes the descriptors this program's. To be called before it opens any of
/// its own, which could have got a number that the environment wrongly names.
pub(crate) fn claim() {
    let own = std::process::id().to_string();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID") != own {
        return;
    }
    let count: RawFd = variable("LISTEN_FDS").parse().unwrap_or(0);
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':');
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    for number in FIRST..FIRST.saturating_add(count) {
        let name = names.next().unwrap_or_default().to_owned();
        if !is_socket(number) || claimed.iter().any(|claimed| claimed.number == number) {
            continue;
        }
        // SAFETY: it is open, as was just seen, was not claimed before, and cannot be
        // one that this program has opened, for it has opened none.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        // Keepers must not have it. An open descriptor takes its flags.
        if fcntl_setfd(&fd, FdFlags::CLOEXEC).is_ok() {
            claimed.push(HandedOver { fd, number, name });
        }
    }
}

/// Closes all others that whoever started this program left open: a shell that
/// waits for the end of what is written to one would wait as long as the daemon
/// and its keepers live. To be called right after [`claim`].
pub(crate) fn close_others() {
    let claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<RawFd> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number >= FIRST) {
        let is_open = std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok();
        if is_open && claimed.iter().all(|claimed| claimed.number != number) {
            // SAFETY: it is open, as was just seen, which the directory that was read
            // is no more; it was not claimed, and cannot be one that this program
            // has opened, for it has opened none.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

/// All that was claimed; nothing the second time.
pub(super) fn take() -> Vec<HandedOver> {
    std::mem::take(&mut *CLAIMED.lock().unwrap_or_else(PoisonError::into_inner))
}

fn is_socket(number: RawFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
    link.is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
}
