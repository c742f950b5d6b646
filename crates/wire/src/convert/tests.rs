use casemate_model::{
    Capabilities, Card, Container, ContainerId, CpuQuota, Device, DeviceAccess, Egress, EtcFiles, Interface, Ipc,
    Limits, MASKED_PATHS, MemorySwap, Namespace, Namespaces, NanoCpus, Process, Protocol, Publication, READONLY_PATHS,
    Rlimit, RlimitKind, Seccomp, Sysctl, TerminalSize, Tmpfs,
};

use super::*;
use crate::vocabulary::{Link, Network, NetworkNamespace, Resolver};

fn container() -> Container {
    Container {
        id: ContainerId::from_random([7; 32]),
        hostname: "h".into(),
        domainname: "d".into(),
        init: Process {
            args: vec!["sh".into(), "-c".into(), "exit 3".into()],
            env: vec!["A=ä".into()],
            cwd: "/".into(),
            user: "nobody:users".parse().unwrap(),
            additional_groups: vec!["audio".into(), "44".into()],
            terminal: Some(TerminalSize { rows: 24, columns: 80 }),
            stdin: true,
            capabilities: Capabilities::DOCKER_DEFAULT,
            no_new_privileges: true,
            seccomp: Some(Seccomp { program: (0..=255).collect(), log: true, allow_speculation: false }),
            rlimits: vec![Rlimit { kind: RlimitKind::Nofile, soft: Some(1024), hard: None }],
            oom_score_adj: -500,
        },
        stdin_once: false,
        reaper: true,
        read_only: true,
        ephemeral: true,
        etc: EtcFiles { hosts: "127.0.0.1 localhost\n".into(), hostname: "h\n".into(), resolv_conf: String::new() },
        limits: Limits {
            memory: Some(Bytes::mib(64)),
            memory_swap: Some(MemorySwap::Total(Bytes::mib(70))),
            memory_reservation: Some(Bytes::mib(32)),
            memory_swappiness: Some(0),
            oom_kill_disable: true,
            cpu_quota: Some(CpuQuota::from(NanoCpus(1_500_000_000))),
            cpu_shares: Some(512),
            cpuset_cpus: Some("0-1,3".parse().unwrap()),
            cpuset_mems: Some("0".parse().unwrap()),
            pids: Some(10),
            blkio_weight: Some(300),
        },
        shm_size: Some(Bytes::mib(1)),
        tmpfs: vec![Tmpfs::new("/run", "exec,size=1m,ro").unwrap()],
        sysctls: vec![Sysctl::new("net.ipv4.ip_forward", "1").unwrap()],
        namespaces: Namespaces { pid: Namespace::Host, ipc: Ipc::None, uts: Namespace::Own, cgroup: Namespace::Host },
        privileged: true,
        devices: vec![Device { host_path: "/dev/fuse".into(), path: "/dev/f".into(), access: DeviceAccess::ALL }],
        device_rules: vec!["c 10:* rw".parse().unwrap()],
        masked_paths: MASKED_PATHS.map(String::from).to_vec(),
        readonly_paths: READONLY_PATHS.map(String::from).to_vec(),
    }
}

fn interface() -> Interface {
    Interface {
        name: "eth0".into(),
        mac: "02:42:0a:01:00:02".parse().unwrap(),
        mtu: Some(1400),
        addresses: vec!["10.1.0.2/16".parse().unwrap(), "fd00::2/64".parse().unwrap()],
        gateways: vec!["10.1.0.1".parse().unwrap()],
    }
}

fn network() -> Network {
    Network {
        namespace: NetworkNamespace::Own,
        links: vec![Link { port: "cm-0".into(), bridge: "br-0".into(), isolated: true, interface: interface() }],
        publications: vec![Publication {
            protocol: Protocol::Udp,
            host: "[::]:53".parse().unwrap(),
            to: "10.1.0.2:53".parse().unwrap(),
        }],
        resolver: Some(Resolver {
            networks: vec!["/names".into()],
            links: vec![("db".into(), "0123".into())],
            upstreams: vec!["::1".parse().unwrap()],
            answers: Some(Egress { public: true, ranges: vec!["10.2.0.0/16".parse().unwrap()] }),
        }),
    }
}

#[test]
fn creates_come_back_as_they_were() {
    let places = [
        Place::Host(HostPlace {
            lowers: vec!["/a".into(), "/b".into()],
            upper: "/u".into(),
            work: "/w".into(),
            reaper: None,
            network: network(),
        }),
        Place::Vm(VmPlace {
            qemu: None,
            kernel: "/k".into(),
            initrd: "/i".into(),
            layers: vec!["/l".into()],
            scratch: "/s".into(),
            scratch_size: Bytes::mib(1),
            scratch_cache: "/c".into(),
            uid: 7,
            accelerator: "tcg".into(),
            boot_timeout_ms: 9,
            network: Network { namespace: NetworkNamespace::At("/n".into()), ..Network::default() },
        }),
        Place::Guest(GuestPlace {
            layers: vec![Extent { offset: 0, length: 4096 }],
            fresh: true,
            time_ns: 5,
            entropy: vec![1, 2],
            cards: vec![Card { mac: "02:00:00:00:00:01".parse().unwrap(), interface: Some(interface()) }],
        }),
    ];
    for place in places {
        let create = Create { container: container(), place };
        let json = serde_json::to_vec(&written::Create::from(&create)).unwrap();
        let back: written::Create = serde_json::from_slice(&json).unwrap();
        assert_eq!(Create::try_from(back).unwrap(), create);
    }
}

#[test]
fn wrong_contents_are_named() {
    let change = |change: fn(&mut written::Container)| {
        let mut container = written::Container::from(&container());
        change(&mut container);
        Container::try_from(container).unwrap_err().to_string()
    };
    assert_eq!(change(|c| c.init.args.clear()), "no command");
    assert_eq!(change(|c| c.init.args.push("a\0b".into())), "argument holds a null byte");
    assert_eq!(change(|c| c.init.user = "a:b:c".into()), "invalid user \"a:b:c\": expected user[:group]");
    assert!(change(|c| c.id = "../../etc".into()).starts_with("invalid id"));
    assert!(
        change(
            |c| c.init.seccomp = Some(written::Seccomp { program: "zz".into(), log: false, allow_speculation: false })
        )
        .starts_with("seccomp program")
    );
    assert_eq!(change(|c| c.init.oom_score_adj = 1001), "OOM score adjustment of 1001 is out of range");
    assert_eq!(change(|c| c.tmpfs[0].1.push_str(",x=1")), "invalid tmpfs option \"x\"");
    assert_eq!(
        change(|c| c.sysctls[0].0 = "kernel.panic".into()),
        "sysctl \"kernel.panic\" is not in a separate kernel namespace"
    );
    assert_eq!(change(|c| c.device_rules[0].push('x')), "invalid device cgroup rule format: 'c 10:* rwx'");
    assert_eq!(change(|c| c.limits.cpuset_cpus = Some("1-".into())), "invalid format: 1-");
    let link = |change: fn(&mut written::Link)| {
        let mut network = written::Network::from(&network());
        change(&mut network.links[0]);
        Network::try_from(network).unwrap_err().to_string()
    };
    for name in ["", "..", "a/b", "a\0", "of sixteen bytes", "sixteen-bytes-16"] {
        let mut network = written::Network::from(&network());
        network.links[0].port = name.to_owned();
        assert_eq!(Network::try_from(network).unwrap_err().to_string(), format!("{name:?} is not the name of a link"));
    }
    assert_eq!(link(|l| l.interface.mac.push('0')), "invalid MAC address: 02:42:0a:01:00:020");
    assert_eq!(link(|l| l.interface.gateways[0].push('x')), "invalid address \"10.1.0.1x\"");
    assert!(matches!(extent((0, 0)), Err(InvalidMessage::Extent { .. })));
    assert!(matches!(extent((u64::MAX - 511, 512)), Err(InvalidMessage::Extent { .. })));
}

#[test]
fn a_guests_words_cannot_move_the_terminal() {
    let failure = failure("nonsense", format!("\x1b[2Jx{}", "y".repeat(10_000)), None);
    assert_eq!(failure.class, ErrorClass::Internal);
    assert!(failure.message.starts_with("\u{fffd}[2Jxy"));
    assert_eq!(failure.message.chars().count(), MAX_WORDS);
    let exited = written::Response::Exited {
        status: written::ExitStatus::Code(0),
        oom_killed: false,
        reason: Some("\x1b]0;title\x07".into()),
    };
    assert_eq!(Exited::try_from(exited).unwrap().reason.unwrap(), "\u{fffd}]0;title\u{fffd}");
}
