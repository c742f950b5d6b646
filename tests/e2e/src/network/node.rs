//! A network namespace, and what is done in it.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;
use std::process::Command;

use rtnetlink::LinkUnspec;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::netlink::{index, with_netlink};
use crate::Spawned;

/// Lives as long as this, a thread or a process in it, or a socket of it does.
#[derive(Debug)]
pub struct Node(File);

impl Node {
    /// Takes this thread to a new one. Threads and processes that it starts from
    /// now on are in there too; those that there are already are not.
    pub fn enter_new() -> Self {
        fresh_namespace();
        let node = Self::here();
        node.run(|| {
            with_netlink(async |handle| {
                let up = LinkUnspec::new_with_index(index(&handle, "lo").await).up().build();
                handle.link().set(up).execute().await.expect("a loopback interface");
            })
        });
        // The real host's setting is inherited, which its own daemon may have changed.
        node.set("ipv4/ip_forward", "0");
        // Every user may ping, as on hosts with systemd.
        node.set("ipv4/ping_group_range", "0 2147483647");
        node
    }

    /// That of this thread.
    pub fn here() -> Self {
        Self(File::open("/proc/thread-self/ns/net").expect("this thread's network namespace"))
    }

    /// A machine apart, without any link.
    pub fn new() -> Self {
        let node = std::thread::spawn(Self::enter_new).join().unwrap_or_else(|panic| resume_unwind(panic));
        // An address is there when it is given. The host is left as hosts are.
        node.set("ipv6/conf/default/accept_dad", "0");
        node
    }

    /// On a thread in there. Sockets that are made in there stay there.
    pub fn run<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        let work = || {
            let entered = move_into_link_name_space(self.namespace(), Some(LinkNameSpaceType::Network));
            entered.expect("a network namespace to enter");
            body()
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// A program in there.
    pub fn start(&self, command: Command) -> Spawned {
        self.run(|| Spawned::start(command))
    }

    /// A setting under /proc/sys/net.
    pub fn set(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    pub(super) fn namespace(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(unsafe_code, reason = "unsharing descriptors would be unsafe")]
fn fresh_namespace() {
    // SAFETY: no descriptors are unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network namespace");
}
