//! The same container by this launcher and by runc, looked at from inside.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use casemate_model::{Capabilities, Capability, Container, Ipc, MASKED_PATHS, Rlimit, RlimitKind, Sysctl, Tmpfs};
use serde_json::{Value, json};

use crate::harness::{MARK, Test};
use crate::image::{Running, Sandbox, add_probe, container, own_capabilities, process};

pub(crate) const TESTS: &[Test] = &[
    ("oracle::the_view_from_inside", the_view_from_inside),
    ("oracle::the_view_of_a_user", the_view_of_a_user),
    ("oracle::the_view_with_options", the_view_with_options),
    ("oracle::the_view_of_a_privileged_one", the_view_of_a_privileged_one),
    ("oracle::every_system_call", every_system_call),
    ("oracle::the_view_of_an_exec", the_view_of_an_exec),
];

const LOOK: &str = include_str!("look.sh");

fn runc_is_here() -> bool {
    let here = Command::new("runc").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if !here {
        #[allow(clippy::print_stdout)]
        {
            println!("skipped: needs runc (apt-get install runc)");
        }
    }
    here
}

fn look(masked: &[&str]) -> String {
    LOOK.replace("$MASKED", &masked.join(" "))
}

fn the_view_from_inside() {
    if !runc_is_here() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", &look(&MASKED_PATHS)]);
    c.init.rlimits = vec![Rlimit { kind: RlimitKind::Nofile, soft: Some(512), hard: Some(1024) }];
    compare(&sandbox, &c);
    c.read_only = true;
    c.init.no_new_privileges = true;
    c.init.cwd = "/tmp".to_owned();
    compare(&sandbox, &c);
}

fn the_view_of_a_user() {
    if !runc_is_here() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", &look(&MASKED_PATHS)]);
    c.init.user = "web".parse().unwrap();
    compare(&sandbox, &c);
    c.init.no_new_privileges = true;
    compare(&sandbox, &c);
}

fn the_view_with_options() {
    if !runc_is_here() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", &look(&MASKED_PATHS)]);
    c.tmpfs = vec![Tmpfs::new("/run/deep", "size=1m,exec,mode=700").unwrap(), Tmpfs::new("/run", "").unwrap()];
    c.sysctls = vec![Sysctl::new("kernel.domainname", "lan").unwrap()];
    c.init.oom_score_adj = 50;
    c.init.additional_groups = vec!["777".to_owned()];
    c.masked_paths = vec!["/proc/keys".to_owned()];
    c.readonly_paths = vec!["/proc/irq".to_owned()];
    c.namespaces.ipc = Ipc::None;
    compare(&sandbox, &c);
}

fn the_view_of_a_privileged_one() {
    if !runc_is_here() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", &look(&MASKED_PATHS)]);
    c.privileged = true;
    c.init.seccomp = None;
    // As far as this host has them: more, runc refuses.
    c.init.capabilities = Capabilities::from_bits(own_capabilities());
    c.masked_paths.clear();
    c.readonly_paths.clear();
    compare(&sandbox, &c);
}

fn every_system_call() {
    if !runc_is_here() {
        return;
    }
    let sandbox = Sandbox::new();
    add_probe(&sandbox.layer());
    let c = container(&["probe"]);
    let ours = sandbox.run(c.clone()).unwrap();
    assert!(ours.ok().lines().count() > 450);
    compare(&sandbox, &c);
    let mut c = container(&["probe"]);
    c.init.user = "web".parse().unwrap();
    c.init.no_new_privileges = true;
    compare(&sandbox, &c);
}

fn the_view_of_an_exec() {
    if !runc_is_here() {
        return;
    }
    let sandbox = Sandbox::new();
    add_probe(&sandbox.layer());
    let idle = container(&["sh", "-c", "sleep 1000 & wait"]);
    let running = Running::start(&sandbox, idle.clone());
    let runc = Runc::new(&sandbox, &idle);
    runc.start();
    // Only root with all defaults can be described to `runc exec` in full.
    for (command, user) in [(look(&MASKED_PATHS), ""), ("probe".to_owned(), ""), (look(&MASKED_PATHS), "web")] {
        let mut p = process(&["sh", "-c", &command]);
        p.user = user.parse().unwrap();
        let ours = running.exec(&p).unwrap();
        let theirs = runc.exec(&p);
        assert_same(&normalise(&ours.stdout), &normalise(&theirs));
    }
    running.end();
}

#[track_caller]
fn compare(sandbox: &Sandbox, container: &Container) {
    let ours = sandbox.run(container.clone()).unwrap();
    let runc = Runc::new(sandbox, container);
    let theirs = runc.run();
    assert!(theirs.lines().count() > 40, "runc: {theirs}");
    assert_same(&normalise(&ours.stdout), &normalise(&theirs));
    // The next one finds a fresh root.
    for name in ["upper", "work"] {
        fs::remove_dir_all(sandbox.dir.path().join(name)).unwrap();
    }
}

#[track_caller]
fn assert_same(ours: &str, theirs: &str) {
    let (our_lines, their_lines): (BTreeSet<&str>, BTreeSet<&str>) = (ours.lines().collect(), theirs.lines().collect());
    let only_ours: Vec<_> = our_lines.difference(&their_lines).collect();
    let only_theirs: Vec<_> = their_lines.difference(&our_lines).collect();
    assert!(
        only_ours.is_empty() && only_theirs.is_empty(),
        "only ours:\n{only_ours:#?}\nonly runc's:\n{only_theirs:#?}"
    );
    // Also the order, where it is not one of mounts.
    let ordered = |text: &str| text.lines().filter(|l| !l.starts_with("mount ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(ordered(ours), ordered(theirs));
}

/// Takes out what must differ, and says why.
fn normalise(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let line = match fields.as_slice() {
            // mountinfo: ids and device numbers are counted up; the root is an
            // overlay here and a plain directory there; files are bound from
            // different places.
            [id, _, device, source, target, flags, .., kind, _name, options]
                if id.parse::<u32>().is_ok() && device.contains(':') =>
            {
                if *target == "/" {
                    let read_only = flags.split(',').next();
                    format!("mount / {read_only:?}")
                } else {
                    let source = if target.starts_with("/etc/") { "file" } else { source };
                    // Asked to be read-only, as Docker asks; runc 1.1 leaves it
                    // writable where control groups are of version 1.
                    let split = *target == "/sys/fs/cgroup" && *kind == "tmpfs";
                    let flags = if split { flags.replacen("rw,", "ro,", 1) } else { (*flags).to_owned() };
                    format!("mount {target} {source} {flags} {kind} {}", plain_options(options))
                }
            }
            // The sleeping init's and runc's own pids.
            _ if line.starts_with("NSsid") || line.starts_with("NSpgid") || line.starts_with("NSpid") => continue,
            // Counted for the user, wherever his processes run.
            _ if line.starts_with("SigQ") => continue,
            // runc keeps what its own parent ignores.
            _ if line.starts_with("SigIgn") => continue,
            _ => line.to_owned(),
        };
        lines.push(line);
    }
    lines.join("\n")
}

/// Superblock options, without those that a kernel adds by itself.
fn plain_options(options: &str) -> String {
    let mut plain: Vec<&str> = options.split(',').filter(|o| *o != "inode64").collect();
    plain.sort_unstable();
    plain.join(",")
}

/// A bundle for runc, as Docker writes it for the same container.
struct Runc {
    bundle: tempfile::TempDir,
    id: String,
}

impl Runc {
    fn new(sandbox: &Sandbox, container: &Container) -> Self {
        let bundle = tempfile::Builder::new().prefix(MARK).tempdir().unwrap();
        let copied = Command::new("cp").arg("-a").arg(sandbox.layer()).arg(bundle.path().join("rootfs")).status();
        assert!(copied.unwrap().success());
        // Docker makes the working directory itself.
        fs::create_dir_all(bundle.path().join("rootfs").join(container.init.cwd.trim_start_matches('/'))).unwrap();
        for (name, text) in [
            ("hosts", &container.etc.hosts),
            ("hostname", &container.etc.hostname),
            ("resolv.conf", &container.etc.resolv_conf),
        ] {
            fs::write(bundle.path().join(name), text).unwrap();
        }
        let config = config(bundle.path(), container);
        fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
        Self { bundle, id: format!("{MARK}-{}", std::process::id()) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.bundle.path().join("state")).stdin(Stdio::null());
        command
    }

    fn run(&self) -> String {
        let output = self.command().arg("run").arg("-b").arg(self.bundle.path()).arg(&self.id).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn start(&self) {
        let started = self
            .command()
            .args(["run", "-d", "-b"])
            .arg(self.bundle.path())
            .arg(&self.id)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(started.unwrap().success());
    }

    fn exec(&self, process: &casemate_model::Process) -> String {
        let file = self.bundle.path().join("process.json");
        fs::write(&file, process_json(process).to_string()).unwrap();
        let output = self.command().args(["exec", "-p"]).arg(file).arg(&self.id).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        let _ = self.command().args(["delete", "-f", &self.id]).stderr(Stdio::null()).status();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(MARK));
        }
    }
}

/// All devices of this host, as containerd's `oci.HostDevices` lists them.
fn host_devices(dir: &Path, found: &mut Vec<Value>) {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let own = ["pts", "shm", "fd", "mqueue"].iter().any(|name| entry.file_name() == *name);
        if kind.is_dir() && !own {
            host_devices(&path, found);
        } else if (kind.is_block_device() || kind.is_char_device()) && !path.ends_with("console") {
            let status = entry.metadata().unwrap();
            found.push(json!({"path": path, "type": if kind.is_block_device() { "b" } else { "c" },
                "major": rustix::fs::major(status.rdev()), "minor": rustix::fs::minor(status.rdev()),
                "fileMode": status.mode() & 0o777, "uid": status.uid(), "gid": status.gid()}));
        }
    }
}

fn config(bundle: &Path, c: &Container) -> Value {
    let bare = ["nosuid", "noexec", "nodev"];
    let kernel = if c.privileged { "rw" } else { "ro" };
    let mut devices = Vec::new();
    if c.privileged {
        host_devices(Path::new("/dev"), &mut devices);
    }
    let mut sysctls = json!({"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"});
    for sysctl in &c.sysctls {
        sysctls[sysctl.name()] = json!(sysctl.value());
    }
    let read_only = if c.read_only { "ro" } else { "rw" };
    let file = |name: &str| {
        json!({"destination": format!("/etc/{name}"), "type": "bind", "source": bundle.join(name),
            "options": ["rbind", "rprivate", read_only]})
    };
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": process_json(&c.init),
        "root": {"path": "rootfs", "readonly": c.read_only},
        "hostname": c.hostname,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": bare},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", kernel]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": [kernel, "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": bare},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            file("resolv.conf"), file("hostname"), file("hosts"),
        ],
        "linux": {
            "cgroupsPath": format!("/{MARK}/runc-{}", std::process::id()),
            "resources": {"devices": [{"allow": c.privileged, "access": "rwm"}]},
            "devices": devices,
            "namespaces": namespaces,
            "sysctl": sysctls,
            "maskedPaths": c.masked_paths,
            "readonlyPaths": c.readonly_paths,
        },
    });
    if c.init.seccomp.is_some() {
        config["linux"]["seccomp"] = seccomp();
    }
    let mounts = config["mounts"].as_array_mut().unwrap();
    if c.namespaces.ipc == Ipc::None {
        mounts.retain(|mount| mount["destination"] != "/dev/shm");
    }
    // Docker sorts them by their depth.
    let mut all: Vec<_> = c.tmpfs.iter().collect();
    all.sort_by_key(|tmpfs| tmpfs.path.matches('/').count());
    for tmpfs in all {
        let options: Vec<String> = tmpfs.options().split(',').map(str::to_owned).collect();
        mounts.push(json!({"destination": tmpfs.path, "type": "tmpfs", "source": "tmpfs", "options": options}));
    }
    config
}

fn process_json(p: &casemate_model::Process) -> Value {
    let (uid, gid, groups) = match p.user.user.as_deref() {
        Some("web") => (33, 34, vec![34, 4]),
        _ => (0, 0, vec![0, 4]),
    };
    let further = p.additional_groups.iter().map(|group| group.parse::<u32>().unwrap());
    let groups: Vec<u32> = groups.into_iter().chain(further).collect();
    let allowed: Vec<String> = p.capabilities.iter().map(Capability::name).collect();
    let effective = if uid == 0 { allowed.clone() } else { Vec::new() };
    let limits: Vec<Value> = p
        .rlimits
        .iter()
        .map(|l| {
            assert_eq!(l.kind, RlimitKind::Nofile);
            json!({"type": "RLIMIT_NOFILE", "soft": l.soft, "hard": l.hard})
        })
        .collect();
    json!({
        "user": {"uid": uid, "gid": gid, "additionalGids": groups},
        "args": p.args, "env": p.env, "cwd": p.cwd,
        "capabilities": {"bounding": allowed, "effective": effective, "permitted": effective},
        "rlimits": limits,
        "noNewPrivileges": p.no_new_privileges,
        "oomScoreAdj": p.oom_score_adj,
    })
}

/// Docker's profile in the form of the runtime specification, made here by
/// reading the same file in another way.
fn seccomp() -> Value {
    let profile: Value = serde_json::from_str(include_str!("../../../seccomp/data/docker-default.json")).unwrap();
    let strings = |v: &Value| -> Vec<String> {
        v.as_array().into_iter().flatten().map(|s| s.as_str().unwrap().to_owned()).collect()
    };
    let held = |name: &String| Capabilities::DOCKER_DEFAULT.contains(name.parse().unwrap());
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("{other}"),
    };
    let mut rules = Vec::new();
    for rule in profile["syscalls"].as_array().unwrap() {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let arches = strings(&includes["arches"]);
        // Every kernel that this runs on is younger than any minKernel in it.
        let applies = strings(&includes["caps"]).iter().all(held)
            && (arches.is_empty() || arches.iter().any(|a| a == arch))
            && !strings(&excludes["caps"]).iter().any(held)
            && !strings(&excludes["arches"]).iter().any(|a| a == arch);
        if applies {
            let mut kept = json!({"names": rule["names"], "action": rule["action"]});
            for key in ["args", "errnoRet"] {
                if !rule[key].is_null() {
                    kept[key] = rule[key].clone();
                }
            }
            rules.push(kept);
        }
    }
    let architectures = match arch {
        "amd64" => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        _ => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
    };
    json!({"defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures, "syscalls": rules})
}
