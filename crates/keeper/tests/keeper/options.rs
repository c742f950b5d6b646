//! What `docker run` offers beyond a command, under both isolations.

use std::rc::Rc;

use casemate_model::{
    Capabilities, Container, Device, DeviceAccess, ErrorClass, ExitStatus, Isolation, Namespace, Process, ProcessRef,
    Rlimit, RlimitKind, Signal, Sysctl, Tmpfs,
};

use crate::bed::{Bed, both_modes};

both_modes![devices_by_rule, what_it_asks_for_it_gets, an_init_of_the_engines, privileged, what_a_vm_cannot_share];

async fn what_it_asks_for_it_gets(bed: Rc<Bed>) {
    let script = "\
        grep ' /run ' /proc/self/mountinfo | sed 's/.* - //'; stat -c %a /run; touch /run/x && echo tmpfs; \
        cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /proc/sys/kernel/domainname; \
        id -G; cat /proc/self/oom_score_adj; ulimit -n; \
        df -k /dev/shm | tail -1 | sed 's/^[^ ]* *\\([0-9]*\\) .*/\\1/'; \
        touch /proc/sys/kernel/domainname && echo unmasked; \
        grep NoNewPrivs /proc/self/status; ls -d /dev/shm /work; pwd";
    let container = bed.container(script);
    let container = Container {
        tmpfs: vec![Tmpfs::new("/run", "size=1m,mode=700").unwrap()],
        sysctls: vec![Sysctl::new("net.ipv4.ip_forward", "1").unwrap(), Sysctl::new("kernel.shmmni", "77").unwrap()],
        domainname: "example.org".to_owned(),
        shm_size: Some(casemate_model::Bytes::mib(3)),
        readonly_paths: Vec::new(),
        init: Process {
            additional_groups: vec!["777".to_owned(), "root".to_owned()],
            user: "1234:55".parse().unwrap(),
            oom_score_adj: 444,
            no_new_privileges: true,
            cwd: "/work".to_owned(),
            rlimits: vec![Rlimit { kind: RlimitKind::Nofile, soft: Some(111), hard: Some(222) }],
            ..container.init
        },
        ..container
    };
    let as_root =
        Container { init: Process { user: "".parse().unwrap(), ..container.init.clone() }, ..container.clone() };
    let (output, exited) = bed.run(&as_root).await.unwrap();
    let expected = "tmpfs tmpfs rw,size=1024k,mode=700\n700\ntmpfs\n1\n77\nexample.org\n0 10 777\n444\n111\n3072\n\
        unmasked\nNoNewPrivs:\t1\n/dev/shm\n/work\n/work\n";
    let plain: String = output.replace(",inode64", "").lines().map(|l| format!("{l}\n")).collect();
    assert_eq!(plain, expected);
    assert_eq!(exited.status, ExitStatus::Code(0));
}

async fn an_init_of_the_engines(bed: Rc<Bed>) {
    let with_init = |script: &str| Container { reaper: true, ..bed.container(script) };
    let script = "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 1000 & wait $!; done";
    let mut running = bed.running(&with_init(script), "ready").await;
    running.client.signal(&ProcessRef::Init, Signal::TERM).await.unwrap();
    running.read_until("got it").await;
    assert_eq!(running.exited().await.status, ExitStatus::Code(5));
    // Again, over what the first one left, and with another end.
    let script = "busybox tr '\\0' ' ' < /proc/1/cmdline; echo; echo $$ $PPID; kill -9 $$";
    let (output, exited) = bed.run(&with_init(script)).await.unwrap();
    assert!(output.starts_with("/sbin/docker-init -- sh -c busybox tr"), "{output}");
    assert!(output.ends_with("\n2 1\n"), "{output}");
    assert_eq!(exited.status, ExitStatus::Code(137));
}

async fn privileged(bed: Rc<Bed>) {
    let script = "mount -t tmpfs none /mnt 2>/dev/null || mount -t tmpfs none /tmp; echo $?; \
        grep ' /sys ' /proc/self/mountinfo | grep -c ' rw,'; \
        d=$(ls -d /sys/fs/cgroup/pids /sys/fs/cgroup 2>/dev/null | head -1); mkdir $d/below && rmdir $d/below && echo groups; \
        grep Seccomp: /proc/self/status; ls /dev; echo end";
    let container = bed.container(script);
    let container = Container {
        privileged: true,
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
        init: Process { capabilities: Capabilities::ALL, seccomp: None, ..container.init },
        ..container
    };
    let (output, _) = bed.run(&container).await.unwrap();
    assert!(output.starts_with("0\n1\ngroups\nSeccomp:\t0\n"), "{output}");
    // The devices are those of the kernel that it stands on.
    let virtio_disk = output.lines().any(|line| line == "vdb");
    match bed.isolation {
        Isolation::Hyperv => assert!(virtio_disk, "the VM's scratch disk: {output}"),
        Isolation::Process => {
            let has = |name: &str| std::fs::exists(format!("/dev/{name}")).unwrap();
            assert_eq!(virtio_disk, has("vdb"), "{output}");
        }
    }
}

/// The kernel it stands on decides, by the container's own rules.
async fn devices_by_rule(bed: Rc<Bed>) {
    let script = "mknod /mine c 1 11; (: > /mine) 2>&1 && echo opened; ulimit -Hn";
    let refused = bed.run(&bed.container(script)).await.unwrap().0;
    assert!(refused.contains("/mine: Operation not permitted"), "{refused}");
    let files: u32 = refused.lines().last().unwrap().parse().unwrap();
    assert!(bed.isolation == Isolation::Process || files == 524_288, "{files}");
    for rule in ["c 1:* w", "a *:* rwm"] {
        let container = Container { device_rules: vec![rule.parse().unwrap()], ..bed.container(script) };
        let allowed = bed.run(&container).await.unwrap().0;
        assert!(allowed.starts_with("opened\n"), "{rule}: {allowed}");
    }
    let elsewhere = Container { device_rules: vec!["b 1:* rwm".parse().unwrap()], ..bed.container(script) };
    assert!(bed.run(&elsewhere).await.unwrap().0.contains("Operation not permitted"));
}

async fn what_a_vm_cannot_share(bed: Rc<Bed>) {
    let container = bed.container("ls /dev/mine; readlink /proc/self/ns/pid");
    let device = Device { host_path: "/dev/kmsg".into(), path: "/dev/mine".into(), access: DeviceAccess::ALL };
    let with_device = Container { devices: vec![device], ..container.clone() };
    let mut in_host = container.clone();
    in_host.namespaces.pid = Namespace::Host;
    let results = [bed.run(&with_device).await, bed.run(&in_host).await];
    match bed.isolation {
        Isolation::Process => {
            let [device, pid] = results.map(Result::unwrap);
            assert!(device.0.starts_with("/dev/mine\n"), "{device:?}");
            let own = std::fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
            assert!(pid.0.ends_with(&format!("{own}\n")), "{pid:?}");
        }
        Isolation::Hyperv => {
            for (result, option) in results.into_iter().zip(["--device", "--pid host"]) {
                let failure = result.unwrap_err();
                assert_eq!(failure.class, ErrorClass::InvalidArgument);
                assert!(failure.message.starts_with(&format!("{option} is not possible under hyperv")), "{failure}");
            }
        }
    }
}
