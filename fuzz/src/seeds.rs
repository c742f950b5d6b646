//! Messages of every kind, for the `frames` target to start from.

use std::path::Path;

use casemate_model::{Bytes, Egress, Interface, ProcessRef, Protocol, Publication};
use casemate_wire::message::{ExitStatus, FilesRequest, OutputStream, Request, Response};
use casemate_wire::{Create, HostPlace, Link, Network, NetworkNamespace, Place, Reconfigured, Resolver, Rewired, VmPlace};
use serde::Serialize;

use crate::connection::{cards, container, copy_in, create, process, rewired};
use crate::double::Answers;
use crate::frames::framed;

/// The corpus of the `frames` target.
pub fn frames() -> Vec<Vec<u8>> {
    let requests = requests().into_iter().map(|request| (b'0', json(&request)));
    let responses = responses().into_iter().map(|response| (b'2', json(&response)));
    let both = |(selector, text): (u8, Vec<u8>)| {
        [[&[selector], &framed(&text)[..]].concat(), [&[selector + 1], &text[..]].concat()]
    };
    requests.chain(responses).flat_map(both).collect()
}

/// Panics if the corpus in the repository is not of these messages: seeds that
/// no longer are messages leave the fuzzer before the parser, unnoticed.
pub fn assert_fresh() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/frames");
    for (index, seed) in frames().into_iter().enumerate() {
        let fresh = std::fs::read(directory.join(name(index))).is_ok_and(|kept| kept == seed);
        assert!(fresh, "the vocabulary changed: run `cargo run --example seeds` in fuzz/");
    }
}

/// The name of a seed in its directory.
pub fn name(index: usize) -> String {
    format!("{index:02}")
}

fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("every message can be written")
}

fn network() -> Network {
    let address = |text: &str| text.parse().expect("a valid address");
    let interface = Interface {
        name: "eth0".into(),
        mac: "02:42:ac:11:00:02".parse().expect("a valid address"),
        mtu: Some(1500),
        addresses: vec!["172.17.0.2/16".parse().expect("a valid address")],
        gateways: vec!["172.17.0.1".parse().expect("a valid address")],
    };
    Network {
        namespace: NetworkNamespace::At("/proc/1/ns/net".into()),
        links: vec![Link { port: "cm-0123456789ab".into(), bridge: "br-0".into(), isolated: true, interface }],
        publications: vec![Publication {
            protocol: Protocol::Tcp,
            host: address("0.0.0.0:8080"),
            to: address("172.17.0.2:80"),
        }],
        resolver: Some(Resolver {
            networks: vec!["/run/names.json".into()],
            links: vec![("db".into(), "0123".into())],
            upstreams: vec!["192.0.2.1".parse().expect("a valid address")],
            answers: Some(Egress { public: true, ranges: vec!["10.0.0.0/8".parse().expect("a valid range")] }),
        }),
    }
}

fn places() -> [Place; 3] {
    [
        Place::Host(HostPlace {
            lowers: vec!["/layers/b".into(), "/layers/a".into()],
            upper: "/upper".into(),
            work: "/work".into(),
            reaper: Some("/usr/lib/casemate/docker-init".into()),
            network: network(),
        }),
        Place::Vm(VmPlace {
            qemu: Some("/usr/bin/qemu-system-x86_64".into()),
            kernel: "/vmlinux".into(),
            initrd: "/initrd.img".into(),
            layers: vec!["/a.erofs".into(), "/b.erofs".into()],
            scratch: "/scratch.img".into(),
            scratch_size: Bytes::mib(1024),
            scratch_cache: "/cache".into(),
            uid: 200_001,
            accelerator: "auto".into(),
            boot_timeout_ms: 60_000,
            network: network(),
        }),
        create().place,
    ]
}

pub fn requests() -> Vec<Request> {
    let init = (&ProcessRef::Init).into();
    let exec: casemate_wire::message::ProcessRef = (&ProcessRef::Exec(Answers::default().exec.id)).into();
    let creates = places().map(|place| Request::Create(Box::new((&Create { container: container(), place }).into())));
    let others = [
        Request::Start,
        Request::Rewire(Box::new((&Rewired { network: network(), ..rewired() }).into())),
        Request::Reconfigure(Box::new((&Reconfigured { cards: cards(), hosts: "a".into(), resolv_conf: "b".into() }).into())),
        Request::Resolve,
        Request::Exec(Box::new((&process()).into())),
        Request::Signal { process: exec.clone(), signal: 15 },
        Request::Resize { process: exec.clone(), rows: 24, columns: 80 },
        Request::Wait { process: init },
        Request::Stop { signal: 15, timeout_ms: Some(10_000) },
        Request::Pause,
        Request::Unpause,
        Request::Update(Box::new((&container().limits).into())),
        Request::Processes,
        Request::Sockets,
        Request::Stats,
        Request::Facts,
        Request::Shutdown,
        Request::Stdin { process: exec.clone() },
        Request::Output { process: exec, stream: OutputStream::Stderr },
        Request::OpenFiles(Box::new((&create()).into())),
        Request::Files(FilesRequest::StatPath { path: "/etc/hosts".into() }),
        Request::Files(FilesRequest::CopyOut { path: "/etc".into() }),
        Request::Files((&copy_in()).into()),
        Request::Files(FilesRequest::Changes),
        Request::Files(FilesRequest::Export),
        Request::Files(FilesRequest::Layer),
    ];
    creates.into_iter().chain(others).collect()
}

pub fn responses() -> Vec<Response> {
    let Answers { started, exec, exited, processes, sockets, stats, facts, stat, .. } = Answers::default();
    vec![
        Response::Done,
        started.into(),
        exec.into(),
        exited.expect("the default has ended").into(),
        Response::Exited { status: ExitStatus::Signal(9), oom_killed: true, reason: None },
        Response::Processes(processes.into_iter().map(Into::into).collect()),
        sockets.into(),
        stats.into(),
        facts.into(),
        stat.into(),
        Response::Failed { class: "not-found".into(), message: "no such process".into(), hint: Some("look".into()) },
    ]
}
