//! What must not be left behind, looked for in one place.
//!
//! Two kinds: the host's global tables, which must be afterwards as they were
//! before, and what belongs to one engine by its directories or its
//! containers' names, of which nothing may exist. Bridges live as long as their
//! networks do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::deadline::try_eventually;
use crate::host;
use crate::network::world;
use crate::ruleset::Ruleset;

/// A keeper says goodbye to its clients a moment before it is gone.
const MOMENT: Duration = Duration::from_secs(10);

/// The host's tables before a test. While it lives no other test's engine may.
#[derive(Debug)]
pub struct Leaks {
    root: PathBuf,
    run: PathBuf,
    links: BTreeSet<String>,
    rules: Option<Ruleset>,
    mounts: BTreeSet<String>,
    loops: BTreeSet<String>,
    block_devices: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
    temporary: BTreeSet<PathBuf>,
    /// A daemon that serves is none.
    daemon: Cell<Option<u32>>,
    /// Of networks that there are.
    bridges: RefCell<BTreeSet<String>>,
}

/// Of the networks that are always there.
const BUILTIN_BRIDGES: [&str; 2] = ["casemate0", "casemate1"];

impl Leaks {
    /// To be made before the engine in these directories does anything.
    pub fn before(root: &Path, run: &Path) -> Self {
        Self {
            root: root.to_owned(),
            run: run.to_owned(),
            links: host::links(),
            rules: Ruleset::read(),
            mounts: host::mounts(),
            loops: host::loops(),
            block_devices: host::block_devices(),
            cgroups: host::cgroups(),
            temporary: temporary_files(),
            daemon: Cell::default(),
            bridges: RefCell::default(),
        }
    }

    /// The daemon that is to be there, and what it has while it is.
    pub fn expect_daemon(&self, pid: Option<u32>) {
        self.daemon.set(pid);
    }

    /// The bridges of all networks that are to be there.
    pub fn expect_bridges(&self, names: BTreeSet<String>) {
        self.bridges.replace(names);
    }

    /// Fails unless nothing is left of the engine but its images, networks and caches.
    #[track_caller]
    pub fn check(&self) {
        let nothing_left = || match self.left() {
            left if left.is_empty() => Ok(()),
            left => Err(left.join("\n  ")),
        };
        if let Err(left) = try_eventually(MOMENT, nothing_left) {
            panic!("left behind:\n  {left}");
        }
    }

    /// Whatever is there and must not be.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(self.processes().into_iter().map(|p| format!("process {}: {}", p.pid, p.cmdline)));
        // Another program's mounts may come and go beside this; what is the
        // engine's carries one of its names.
        left.extend(self.own_mounts().into_iter().map(|line| format!("mount {line}")));
        left.extend(new("mount", &self.mounts, &host::mounts()).filter(|line| line.contains("casemate")));
        left.extend(new("network link", &self.links, &self.unexplained_links()));
        left.extend(new("loop device", &self.loops, &host::loops()));
        left.extend(new("block device", &self.block_devices, &host::block_devices()));
        let groups = host::cgroups().into_iter().filter(|group| !self.is_anothers(group)).collect();
        left.extend(new("control group", &self.cgroups, &groups));
        left.extend(new("temporary file", &self.temporary, &temporary_files()));
        left.extend(self.rules());
        left.extend(
            host::unix_sockets()
                .into_iter()
                .filter(|name| self.owns(name) && !self.is_daemons(Path::new(name)))
                .map(|name| format!("socket {name}")),
        );
        left.extend(self.files().into_iter().map(|path| format!("file {}", path.display())));
        left
    }

    /// Processes that have anything to do with the engine's directories.
    pub fn processes(&self) -> Vec<host::HostProcess> {
        let not_ours = [Some(std::process::id()), self.daemon.get()];
        let processes = host::processes().into_iter().filter(|process| !not_ours.contains(&Some(process.pid)));
        processes.filter(|process| self.concerns(process.pid)).collect()
    }

    fn concerns(&self, pid: u32) -> bool {
        let named = [&self.root, &self.run]
            .iter()
            .any(|dir| host::shows(pid, &["cmdline", "environ", "mountinfo"], &dir.to_string_lossy()));
        let proc = Path::new("/proc").join(pid.to_string());
        let links = ["cwd", "root", "exe"].iter().filter_map(|name| std::fs::read_link(proc.join(name)).ok());
        let open = host::descriptors(pid).into_iter().map(|(_, path)| path);
        named || links.chain(open).any(|path| self.owns(&path.to_string_lossy()))
    }

    /// In use, and not by this engine: somebody else's container.
    fn is_anothers(&self, group: &Path) -> bool {
        let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let mut members = text.lines().filter_map(|line| line.parse().ok()).peekable();
        members.peek().is_some() && !members.any(|pid| self.concerns(pid))
    }

    fn owns(&self, path: &str) -> bool {
        let path = Path::new(path);
        path.starts_with(&self.root) || path.starts_with(&self.run)
    }

    fn is_daemons(&self, path: &Path) -> bool {
        let files = ["docker.sock", "casemate.pid"].map(|name| self.run.join(name));
        self.daemon.get().is_some() && files.iter().any(|file| file == path)
    }

    fn unexplained_links(&self) -> BTreeSet<String> {
        let bridges = self.bridges.borrow();
        let is_explained = |name: &String| {
            world::LINKS.contains(&name.as_str()) || BUILTIN_BRIDGES.contains(&name.as_str()) || bridges.contains(name)
        };
        host::links().into_iter().filter(|name| !is_explained(name)).collect()
    }

    /// The product's tables stay with its networks; others' are none of its business.
    fn rules(&self) -> Vec<String> {
        let (Some(before), Some(now)) = (&self.rules, Ruleset::read()) else { return Vec::new() };
        let (others, others_now) = (before.of_others(), now.of_others());
        let more = others_now.difference(&others).map(|other| format!("firewall {other}"));
        let less = others.difference(&others_now).map(|other| format!("firewall without {other}"));
        let elements = now.of_containers().into_iter().map(|element| format!("firewall element {element}"));
        more.chain(less).chain(elements).collect()
    }

    fn own_mounts(&self) -> Vec<String> {
        let dirs = [self.root.to_string_lossy(), self.run.to_string_lossy()];
        host::mounts().into_iter().filter(|line| dirs.iter().any(|dir| line.contains(dir.as_ref()))).collect()
    }

    /// Files of containers; the run directory's frame, images, and the cache
    /// of empty disks stay.
    fn files(&self) -> BTreeSet<PathBuf> {
        // Networks that are up, and what forwarding was before, are the daemon's as long as the host is up.
        let frame = [
            "containers",
            "lock",
            "networks",
            "networks/firewall",
            "networks/ipv4-was-not-forwarded",
            "networks/ipv6-was-not-forwarded",
        ]
        .map(|name| self.run.join(name));
        let is_frame = |path: &PathBuf| frame.contains(path) || self.is_daemons(path);
        let running = host::files_below(&self.run).into_iter().filter(|path| !is_frame(path));
        running.chain(host::files_below(&self.root.join("containers"))).collect()
    }
}

fn new<T: Ord + Clone + Debug>(
    what: &'static str,
    before: &BTreeSet<T>,
    now: &BTreeSet<T>,
) -> impl Iterator<Item = String> {
    let names: Vec<String> = now.difference(before).map(|name| format!("{what} {name:?}")).collect();
    names.into_iter()
}

/// Those of tests that run beside this one say so in their names.
fn temporary_files() -> BTreeSet<PathBuf> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains("casemate") && !name.contains("test")
    };
    host::temporary_files().into_iter().filter(ours).collect()
}
