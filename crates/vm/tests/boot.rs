//! Boots real VMs and looks at them from both sides.
//!
//! Needs root, QEMU, a guest kernel and `rustc`; says what is missing and
//! passes otherwise. `cargo test --test boot -- WORD` runs the cases whose
//! names contain the word.

// A test program's output is its report.
#![allow(clippy::print_stdout)]

mod bed;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bed::{Bed, GID, Guest, PATIENCE, UID, detached_tmpfs, is_readable};
use casemate_model::Bytes;
use casemate_vm::{
    Accelerator, AcceleratorChoice, Detected, End, JailError, Qemu, ScratchImage, ScratchLifetime, SetupStep,
    SpawnError, spawn,
};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

type Case = (&'static str, fn(&Bed));

const CASES: &[Case] = &[
    ("reboot_ends_the_vm", reboot_ends_the_vm),
    ("layers_are_one_disk_in_order", layers_are_one_disk_in_order),
    ("layers_cannot_be_written", layers_cannot_be_written),
    ("two_vms_share_their_layers", two_vms_share_their_layers),
    ("as_many_layers_as_an_image_can_have", as_many_layers_as_an_image_can_have),
    ("scratch_is_written_flushed_and_given_back", scratch_is_written_flushed_and_given_back),
    ("a_killed_vm_leaves_a_disk_that_the_next_can_use", a_killed_vm_leaves_a_disk_that_the_next_can_use),
    ("one_scratch_disk_is_for_one_vm", one_scratch_disk_is_for_one_vm),
    ("a_full_host_is_an_error_inside", a_full_host_is_an_error_inside),
    ("console_shows_a_panic", console_shows_a_panic),
    ("console_shows_why_the_agent_panicked", console_shows_why_the_agent_panicked),
    ("console_takes_any_amount", console_takes_any_amount),
    ("boots_without_a_known_counter", boots_without_a_known_counter),
    ("boots_with_two_processors", boots_with_two_processors),
    ("the_process_has_no_privileges", the_process_has_no_privileges),
    ("the_process_sees_nothing_of_the_host", the_process_sees_nothing_of_the_host),
    ("the_process_has_only_its_descriptors", the_process_has_only_its_descriptors),
    ("the_process_can_open_kvm_and_nobody_elses_device", the_process_can_open_kvm_and_nobody_elses_device),
    ("the_process_is_in_its_cgroup_and_kill_leaves_nothing", the_process_is_in_its_cgroup_and_kill_leaves_nothing),
    ("the_vm_dies_with_its_keeper", the_vm_dies_with_its_keeper),
    ("failures_are_told_and_leave_nothing", failures_are_told_and_leave_nothing),
];

/// Run as this, the program is a keeper that starts a VM and waits.
const KEEPER: &str = "be-a-keeper";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let bed = match Bed::make() {
        Ok(bed) => bed,
        Err(reason) => {
            println!("skipped {} cases that boot VMs: {reason}", CASES.len());
            return ExitCode::SUCCESS;
        }
    };
    if arguments.first().is_some_and(|argument| argument == KEEPER) {
        be_a_keeper(&bed);
        return ExitCode::SUCCESS;
    }
    println!("booting {} with {}", bed.kernel.display(), bed.accelerator);
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let mut failed = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| chosen(name)) {
        let before = mounts();
        let passed = catch_unwind(AssertUnwindSafe(|| {
            case(&bed);
            assert_eq!(mounts(), before, "the host's mount table changed");
        }))
        .is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn reboot_ends_the_vm(bed: &Bed) {
    let mut guest = bed.boot(bed.simple_machine());
    assert_eq!(guest.vm.try_wait().unwrap(), None);
    guest.tell("reboot");
    let (ended, _) = guest.end();
    assert_eq!((ended.end, ended.messages.as_str()), (End::Code(0), ""));
}

fn layers_are_one_disk_in_order(bed: &Bed) {
    let layers = vec![bed.layer("low", 3), bed.layer("middle", 500), bed.layer("top", 1)];
    let machine = bed.machine(layers, bed.blank(16 << 20));
    let extents = machine.disks.extents().to_vec();
    let mut guest = bed.boot(machine);
    let disk = guest.ask("serial of layers");
    let sectors: u64 = guest.ask(&format!("cat /sys/block/{}/size", &disk[5..])).parse().unwrap();
    assert_eq!(sectors * 512, 504 * 4096);
    for (number, (extent, name)) in extents.iter().zip(["low", "middle", "top"]).enumerate() {
        let length = name.len() + 7;
        guest.expect(&format!("read {disk} {} {length}", extent.offset), &format!("{name}:000000"));
        // As the agent will: a partition for each.
        let number = number + 1;
        guest.expect(&format!("partition {disk} {number} {} {}", extent.offset, extent.length), "ok");
        let last = extent.length / 4096 - 1;
        guest.expect(&format!("read {disk}{number} {} {length}", last * 4096), &format!("{name}:{last:06}"));
    }
}

fn layers_cannot_be_written(bed: &Bed) {
    let before = bed.layer("only", 4);
    let mut guest = bed.boot(bed.machine(vec![bed.layer("only", 4)], bed.blank(16 << 20)));
    let disk = guest.ask("serial of layers");
    guest.expect(&format!("cat /sys/block/{}/ro", &disk[5..]), "1");
    let answer = guest.ask(&format!("write {disk} 0 changed"));
    assert!(answer.starts_with("error "), "{answer}");
    let mut bytes = Vec::new();
    (&before).read_to_end(&mut bytes).unwrap();
    assert!(bytes.starts_with(b"only:000000"));
}

fn two_vms_share_their_layers(bed: &Bed) {
    let start = || bed.boot(bed.machine(vec![bed.layer("shared", 8)], bed.blank(16 << 20)));
    let mut guests = [start(), start()];
    for guest in &mut guests {
        let disk = guest.ask("serial of layers");
        guest.expect(&format!("read {disk} 0 13"), "shared:000000");
    }
}

fn as_many_layers_as_an_image_can_have(bed: &Bed) {
    let layers = (0..127).map(|n| bed.layer(&format!("l{n:03}"), 2)).collect();
    let mut guest = bed.boot(bed.machine(layers, bed.blank(16 << 20)));
    let disk = guest.ask("serial of layers");
    for n in [0, 63, 126] {
        guest.expect(&format!("read {disk} {} 11", n * 8192), &format!("l{n:03}:000000"));
    }
}

fn scratch_is_written_flushed_and_given_back(bed: &Bed) {
    let image = match ScratchImage::prepare(bed.directory.path(), Bytes::mib(256), ScratchLifetime::Ephemeral) {
        Ok(image) => image,
        Err(error) => return println!("skipped: {error}"),
    };
    let scratch = image.disk_at(&bed.path("scratch")).unwrap().file;
    let file = scratch.try_clone().unwrap();
    let mut guest = bed.boot(bed.machine(vec![bed.layer("only", 4)], scratch));
    let disk = guest.ask("serial of scratch");
    guest.expect(&format!("mount ext4 {disk}"), "ok");
    let used = || file.metadata().unwrap().blocks() * 512;
    let empty = used();
    guest.expect("fill /mnt/file 32", "ok");
    assert!(used() >= empty + (32 << 20), "{empty} to {}", used());
    guest.expect("remove /mnt/file", "ok");
    guest.expect("trim", "ok");
    assert!(used() < empty + (4 << 20), "{empty} to {}", used());
    guest.expect("umount", "ok");
    guest.expect(&format!("write {disk} 1048576 kept-on-the-host"), "ok");
    guest.vm.kill().unwrap();
    guest.end();
    let mut bytes = [0; 16];
    file.read_exact_at(&mut bytes, 1 << 20).unwrap();
    assert_eq!(&bytes, b"kept-on-the-host");
}

fn a_killed_vm_leaves_a_disk_that_the_next_can_use(bed: &Bed) {
    const FILES: u32 = 20;
    let image = match ScratchImage::prepare(bed.directory.path(), Bytes::mib(256), ScratchLifetime::Kept) {
        Ok(image) => image,
        Err(error) => return println!("skipped: {error}"),
    };
    let path = bed.path("kept");
    let boot = || {
        let mut guest = bed.boot(bed.machine(vec![bed.layer("only", 4)], image.disk_at(&path).unwrap().file));
        let disk = guest.ask("serial of scratch");
        guest.expect(&format!("mount ext4 {disk}"), "ok");
        guest
    };
    for life in 0..4 {
        let mut guest = boot();
        for earlier in 0..life {
            guest.expect(&format!("check /mnt/kept-{earlier} {FILES}"), "ok");
        }
        guest.expect(&format!("keep /mnt/kept-{life} {FILES}"), "ok");
        guest.expect("churn /mnt/churn 700", "ok");
        guest.vm.kill().unwrap();
        let (ended, tail) = guest.end();
        assert_eq!(ended.end, End::Signal(9));
        // The kernel says what it does not like about a disk.
        let console = tail.last_lines(30);
        assert!(!console.contains("EXT4"), "{console}");
    }
    let mut guest = boot();
    guest.expect("umount", "ok");
    guest.tell("reboot");
    guest.end();
    // Of a guest that is known not to be hostile.
    let checked = Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(&path).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    fs::remove_file(&path).unwrap();
}

fn one_scratch_disk_is_for_one_vm(bed: &Bed) {
    let path = bed.path("contended");
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let start = || {
        let scratch = fs::File::options().read(true).write(true).open(&path).unwrap();
        spawn(&bed.qemu, bed.machine(vec![bed.layer("only", 4)], scratch), &bed.jail()).unwrap()
    };
    let mut first = Guest::new(start());
    first.wait_ready();
    let (ended, _) = Guest::new(start()).end();
    assert_eq!(ended.end, End::Code(1));
    assert!(ended.messages.contains("lock"), "{ended}");
    first.expect("what", "what?");
}

fn a_full_host_is_an_error_inside(bed: &Bed) {
    let host = detached_tmpfs(8 << 20);
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let scratch = fs::File::from(rustix::fs::openat(&host, "scratch", flags, Mode::RUSR | Mode::WUSR).unwrap());
    scratch.set_len(64 << 20).unwrap();
    let mut guest = bed.boot(bed.machine(vec![bed.layer("only", 4)], scratch));
    let disk = guest.ask("serial of scratch");
    let answer = guest.ask(&format!("fill {disk} 32"));
    assert!(answer.starts_with("error "), "{answer}");
    guest.expect(&format!("write {disk} 0 still-alive"), "ok");
}

fn console_shows_a_panic(bed: &Bed) {
    let mut guest = bed.boot(bed.simple_machine());
    assert!(!guest.tail.last_lines(100).contains("panic"), "{}", guest.tail.last_lines(100));
    guest.tell("panic");
    let (ended, tail) = guest.end();
    let lines = tail.last_lines(40);
    assert!(lines.contains("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300"), "{lines}");
    assert_eq!(lines.matches("Kernel panic").count(), 1, "{lines}");
    assert_eq!(ended.end, End::Code(0));
}

fn console_shows_why_the_agent_panicked(bed: &Bed) {
    let mut guest = bed.boot(bed.simple_machine());
    guest.tell("read /dev/null zero 1");
    let (_, tail) = guest.end();
    let lines = tail.last_lines(40);
    assert!(lines.contains("thread 'main' (1) panicked at") || lines.contains("thread 'main' panicked at"), "{lines}");
    assert!(lines.contains("InvalidDigit"), "{lines}");
}

fn console_takes_any_amount(bed: &Bed) {
    let mut guest = bed.boot(bed.simple_machine());
    // Far more than the pipe holds.
    guest.expect("say 1", "ok");
    guest.expect("write /dev/kmsg 0 <2>the-end", "ok");
    guest.tell("reboot");
    let (_, tail) = guest.end();
    let lines = tail.last_lines(3);
    assert!(lines.contains("xxxx") && lines.contains("] the-end"), "{lines}");
}

fn boots_without_a_known_counter(bed: &Bed) {
    let mut machine = bed.simple_machine();
    machine.tsc = None;
    let mut guest = bed.boot(machine);
    guest.expect("what", "what?");
}

fn boots_with_two_processors(bed: &Bed) {
    let mut machine = bed.simple_machine();
    machine.size = bed::size(2);
    let mut guest = bed.boot(machine);
    guest.expect("cat /sys/devices/system/cpu/online", "0-1");
}

fn status_field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":"));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn the_process_has_no_privileges(bed: &Bed) {
    let guest = bed.boot(bed.simple_machine());
    let process = PathBuf::from(format!("/proc/{}", guest.vm.pid()));
    let mut threads = 0;
    for thread in fs::read_dir(process.join("task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let four = |id: u32| format!("{id} {id} {id} {id}");
        for (name, expected) in [
            ("Uid", four(UID).as_str()),
            ("Gid", &four(GID)),
            ("Groups", ""),
            ("CapInh", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(status_field(&status, name), expected, "{name}");
        }
        threads += 1;
    }
    assert!(threads >= 2);
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    for expected in ["Max core file size 1 1", "Max file size 16777216 16777216", "Max locked memory 0 0"] {
        let found =
            limits.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(expected));
        assert!(found, "{expected} in {limits}");
    }
}

fn the_process_sees_nothing_of_the_host(bed: &Bed) {
    let guest = bed.boot(bed.simple_machine());
    let process = PathBuf::from(format!("/proc/{}", guest.vm.pid()));

    let line = fs::read(process.join("cmdline")).unwrap();
    assert!(line.starts_with(b"casemate-vm web-1 c5c5c5c5c5c5\0"), "{}", String::from_utf8_lossy(&line));
    assert_eq!(fs::read_to_string(process.join("comm")).unwrap(), "vm-c5c5c5c5c5c5\n");
    assert_eq!(fs::read(process.join("environ")).unwrap(), b"");

    for namespace in ["mnt", "net", "pid", "ipc", "uts", "cgroup"] {
        let link = |of: &Path| fs::read_link(of.join("ns").join(namespace)).unwrap();
        assert_ne!(link(&process), link(Path::new("/proc/self")), "{namespace}");
    }
    let interfaces = fs::read_to_string(process.join("net/dev")).unwrap();
    let names: Vec<&str> =
        interfaces.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    assert_eq!(names, ["lo"]);

    let mountinfo = fs::read_to_string(process.join("mountinfo")).unwrap();
    for line in mountinfo.lines() {
        let options = line.split(' ').nth(5).unwrap();
        assert!(options.starts_with("ro,nosuid"), "{line}");
    }
    let root = process.join("root");
    let entries = |directory: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root.join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let allowed: BTreeSet<String> = ["usr", "lib", "lib64", "dev", "etc", "kernel", "initrd"].map(str::to_owned).into();
    assert!(entries("").is_subset(&allowed), "{:?}", entries(""));
    assert_eq!(entries("etc"), ["ld.so.cache".to_owned()].into());
    let with_kvm = bed.accelerator == Accelerator::Kvm;
    let devices = if with_kvm { vec!["kvm", "null"] } else { vec!["null"] };
    assert!(entries("dev").iter().eq(devices), "{:?}", entries("dev"));
    assert_eq!(entries("usr/bin").len(), 1);
    let allowed: BTreeSet<String> = ["bin", "lib", "lib64", "share"].map(str::to_owned).into();
    assert!(entries("usr").is_subset(&allowed), "{:?}", entries("usr"));
    assert_eq!(entries("usr/share"), ["qemu".to_owned()].into());
}

fn the_process_has_only_its_descriptors(bed: &Bed) {
    // Something that must not be inherited, and is not marked to be closed.
    let leak = fs::File::open("/proc/self/status").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let layers = vec![bed.layer("one", 2), bed.layer("two", 2)];
    let guest = bed.boot(bed.machine(layers, bed.blank(16 << 20)));
    let mut kinds = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", guest.vm.pid())).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap().to_string_lossy().into_owned();
        // Without the number of a pipe or socket.
        let kind = target.split_once(":[").filter(|(kind, _)| *kind != "anon_inode");
        kinds.insert(kind.map_or(target.as_str(), |(kind, _)| kind).to_owned());
    }
    let scratch = kinds.iter().find(|kind| kind.ends_with("(deleted)") && kind.contains("/#")).cloned().unwrap();
    let layer = |name: &str| bed.path(name).to_string_lossy().into_owned();
    let (one, two) = (layer("one"), layer("two"));
    let expected: BTreeSet<String> = [
        "/dev/null",
        "/memfd:layers.vmdk (deleted)",
        "anon_inode:[eventfd]",
        "anon_inode:[signalfd]",
        "pipe",
        "socket",
        &scratch,
        &one,
        &two,
    ]
    .map(str::to_owned)
    .into();
    // Made by QEMU itself, or through the device that it was given.
    let own = ["anon_inode:[eventpoll]", "anon_inode:[io_uring]", "anon_inode:kvm-", "/dev/kvm"];
    let is_own = |kind: &&String| own.iter().any(|own| kind.starts_with(own));
    let unexpected: Vec<&String> = kinds.difference(&expected).filter(|kind| !is_own(kind)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    drop(leak);
}

fn the_process_can_open_kvm_and_nobody_elses_device(bed: &Bed) {
    let choice = AcceleratorChoice::Kvm;
    let detected = match Detected::on_this_host(choice) {
        Ok(detected) => detected,
        Err(error) => return println!("skipped: {error}"),
    };
    let mut machine = bed.simple_machine();
    machine.accelerator = detected.accelerator;
    let guest = Guest::new(spawn(&bed.qemu, machine, &bed.jail()).unwrap());
    let process = PathBuf::from(format!("/proc/{}", guest.vm.pid()));
    // Whether the guest gets anywhere depends on the host; that QEMU makes a
    // VM through a device it can open does not.
    let opened = || {
        let links =
            fs::read_dir(process.join("fd")).unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links.filter(|link| link.to_string_lossy().contains("kvm-vm")).count() == 1
    };
    let deadline = Instant::now() + PATIENCE;
    while !opened() {
        assert!(Instant::now() < deadline && !is_readable(guest.vm.pidfd(), Duration::from_millis(10)));
    }
    let device = fs::metadata(process.join("root/dev/kvm")).unwrap();
    assert_eq!((device.uid(), device.gid(), device.mode() & 0o777), (UID, GID, 0o600));
    assert_eq!(device.rdev(), fs::metadata("/dev/kvm").unwrap().rdev());
}

/// One hierarchy of each version that the host has.
fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = mounts();
    let root = |kind: &str, words: &str| {
        let line = mounts.lines().find(|line| line.contains(kind) && line.contains(words))?;
        line.split(' ').nth(4).map(PathBuf::from)
    };
    // Of version 1 one that takes a process without further ado.
    [root(" - cgroup2 ", ""), root(" - cgroup ", ",pids")].into_iter().flatten().collect()
}

struct RemoveOnDrop<'a>(&'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        // Gone already where all went well.
        let _ = fs::remove_dir(self.0);
    }
}

fn the_process_is_in_its_cgroup_and_kill_leaves_nothing(bed: &Bed) {
    let cgroups: Vec<PathBuf> =
        cgroup_roots().iter().map(|root| root.join(format!("casemate-vm-test-{}", std::process::id()))).collect();
    if cgroups.is_empty() {
        return println!("skipped: no cgroup hierarchy");
    }
    cgroups.iter().for_each(|cgroup| fs::create_dir(cgroup).unwrap());
    // Dropped after the VM, whatever fails before.
    let remove: Vec<RemoveOnDrop<'_>> = cgroups.iter().map(|cgroup| RemoveOnDrop(cgroup)).collect();
    let mut jail = bed.jail();
    jail.cgroups.clone_from(&cgroups);
    // Before the guest has said a word: it is where it belongs when it is there.
    let running = spawn(&bed.qemu, bed.simple_machine(), &jail).unwrap();
    let pid = running.vm.pid();
    for cgroup in &cgroups {
        // KVM adds a kernel thread of its own.
        let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert!(members.lines().any(|member| member == pid.to_string()), "{}: {members}", cgroup.display());
    }
    let guest = Guest::new(running);
    guest.vm.kill().unwrap();
    let (ended, _) = guest.end();
    assert_eq!(ended.end, End::Signal(9));
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    cgroups.iter().for_each(|cgroup| fs::remove_dir(cgroup).unwrap());
    drop(remove);

    // Dropped is as good as killed.
    let guest = bed.boot(bed.simple_machine());
    let pid = guest.vm.pid();
    drop(guest);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

fn be_a_keeper(bed: &Bed) {
    let guest = bed.boot(bed.simple_machine());
    println!("{}", guest.vm.pid());
    guest.end();
}

fn the_vm_dies_with_its_keeper(_: &Bed) {
    let mut keeper = Command::new(std::env::current_exe().unwrap()).arg(KEEPER).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    let vm = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    assert!(!is_readable(&vm, Duration::ZERO));
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    assert!(is_readable(&vm, PATIENCE), "the VM outlived its keeper");
}

fn failures_are_told_and_leave_nothing(bed: &Bed) {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let failure = |change: fn(&mut casemate_vm::Machine), qemu: &Qemu, jail: &casemate_vm::Jail| {
        let mut machine = bed.simple_machine();
        change(&mut machine);
        spawn(qemu, machine, jail)
    };

    let missing = failure(|m| m.kernel = "/nonexistent".into(), &bed.qemu, &bed.jail());
    assert!(matches!(missing, Err(SpawnError::KernelMissing { .. })), "{missing:?}");
    let missing = failure(|m| m.initrd = "/nonexistent".into(), &bed.qemu, &bed.jail());
    assert!(matches!(missing, Err(SpawnError::InitrdMissing { .. })), "{missing:?}");

    let mut jail = bed.jail();
    jail.cgroups.push("/nonexistent".into());
    let missing = failure(|_| (), &bed.qemu, &jail);
    assert!(matches!(missing, Err(SpawnError::Jail(JailError::Cgroup { .. }))), "{missing:?}");

    let not_a_program = Qemu::at("/etc/passwd").unwrap();
    let refused = failure(|_| (), &not_a_program, &bed.jail());
    assert!(matches!(refused, Err(SpawnError::Setup { step: SetupStep::Execute, .. })), "{refused:?}");

    let not_qemu = Qemu::at("/bin/false").unwrap();
    let (ended, _) = Guest::new(failure(|_| (), &not_qemu, &bed.jail()).unwrap()).end();
    assert_eq!((ended.end, ended.messages.as_str()), (End::Code(1), ""));

    let not_a_kernel = failure(|m| m.kernel = "/etc/passwd".into(), &bed.qemu, &bed.jail());
    let (ended, _) = Guest::new(not_a_kernel.unwrap()).end();
    assert_eq!(ended.end, End::Code(1));
    assert!(!ended.messages.is_empty());
    assert!(ended.to_string().starts_with("exited with code 1: qemu"), "{ended}");

    assert_eq!(descriptors(), before);
}
