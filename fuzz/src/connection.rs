//! Bytes as the whole other side of a connection: greeting, streams, messages.
//!
//! The first byte is the peer's [`Manners`] and which side it plays; for a
//! caller, the second is when the service is told to close. Promises, however
//! the bytes are:
//!
//! - Once they have ended the connection ends, with a typed reason; every call
//!   has returned, a service's with the connection.
//! - The pipe is given back: nothing holds it on.
//! - It takes a number of steps in proportion to the bytes, and memory within
//!   what streams may buffer: all that there may be where the peer opens them,
//!   and those of the calls under way where it does not.

use std::rc::Rc;
use std::time::Duration;

use casemate_model::{
    Bytes, Capabilities, Card, Container, ContainerId, Device, DeviceAccess, EtcFiles, Limits, MemorySwap, Namespaces,
    NanoCpus, OutputStream, Process, ProcessRef, Rlimit, RlimitKind, Seccomp, Signal, Sysctl, TerminalSize, Tmpfs,
};
use casemate_wire::connection::{MAX_WINDOWS, WINDOW};
use casemate_wire::{CallError, Client, CopyIn, Create, Extent, FileStream, GuestPlace, Network, Place, Reconfigured, Rewired, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::double::{Answers, Call, Double};
use crate::frames::ask;
use crate::peer::{Manners, Peer, Pieces};
use crate::{memory, run};

/// Besides what streams buffer: tasks, one message, the runtime.
const FLAT: usize = 8 << 20;

/// What a call of a client may hold: its stream's window, an answer that has
/// begun, its own input and what of that is on its way.
const PER_CALL: usize = 2 * WINDOW + 2 * MUCH;

/// More than a stream's window, so that it fills.
const MUCH: usize = 300_000;

pub fn check(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let manners = Manners {
        pieces: [Pieces::Frames, Pieces::Whole, Pieces::Of(1), Pieces::Of(7)][usize::from(choice >> 1 & 3)],
        deaf: choice & 8 != 0,
        lingers: choice & 16 != 0,
    };
    if choice & 1 == 0 {
        if let Some((closing, bytes)) = bytes.split_first() {
            let closing = Duration::from_millis((*closing).into());
            memory::bounded(FLAT + MAX_WINDOWS, || run(check_service(bytes, manners, closing)));
        }
    } else {
        // The other side opens no streams here.
        memory::bounded(FLAT + calls().len() * PER_CALL, || run(check_client(bytes, manners)));
    }
}

async fn check_service(bytes: &[u8], manners: Manners, closing: Duration) {
    let (peer, trace) = Peer::new(bytes, manners);
    let service = Rc::new(Double::new(Answers { output: MUCH as u64, exited: None, ..Answers::default() }));
    let closing = async move {
        // Zero: not before the peer's end.
        if closing.is_zero() { std::future::pending().await } else { tokio::time::sleep(closing).await }
    };
    // Either end is a fine one: the types say how it came.
    drop(serve(Rc::clone(&service), peer, closing).await);
    at_rest().await;
    assert_eq!(Rc::strong_count(&service), 1, "calls outlived their connection");
    assert!(trace.was_dropped(), "the pipe was kept");
}

/// Lets every task run that can.
async fn at_rest() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn check_client(bytes: &[u8], manners: Manners) {
    let (peer, trace) = Peer::new(bytes, manners);
    if let Ok(client) = Client::connect(peer).await {
        play(&client, &calls(), MUCH).await;
        client.lost().await;
    }
    at_rest().await;
    assert!(trace.was_dropped(), "the pipe was kept");
}

/// Makes these calls side by side, opening their streams in this order, and
/// returns when all have returned.
pub async fn play(client: &Client, calls: &[Call], input: usize) {
    let mut running = JoinSet::new();
    for call in calls {
        running.spawn_local(play_one(client.clone(), call.clone(), input));
    }
    while let Some(result) = running.join_next().await {
        // That a call fails is up to the other side.
        let _ = result.expect("no call panics");
    }
}

async fn play_one(client: Client, call: Call, input: usize) -> Result<(), CallError> {
    match call {
        Call::Stdin(process) => {
            let mut stdin = client.stdin(&process).await?;
            // A process may close its input.
            let _ = stdin.write_all(&vec![b'x'; input]).await;
            let _ = stdin.shutdown().await;
        }
        Call::Output(process, stream) => {
            let mut output = client.output(&process, stream).await?;
            let mut buffer = vec![0; 8 << 10];
            while output.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        }
        Call::CopyOut(path) => {
            let (_, mut archive) = client.copy_out(&path).await?;
            // An error is the other side's doing.
            let _ = tokio::io::copy(&mut archive, &mut tokio::io::sink()).await;
        }
        Call::StreamFiles(FileStream::Changes) => drop(client.changes().await?),
        Call::StreamFiles(what) => {
            let mut archive = client.stream_files(what).await?;
            let _ = tokio::io::copy(&mut archive, &mut tokio::io::sink()).await;
        }
        Call::CopyIn(copy) => {
            let mut archive = client.copy_in(&copy).await?;
            let _ = archive.write_all(&vec![b'x'; input]).await;
            archive.finish().await?;
        }
        call => ask(&client, &call).await?,
    }
    Ok(())
}

/// One call of every kind, those with streams first.
pub fn calls() -> Vec<Call> {
    let exec = ProcessRef::Exec(Answers::default().exec.id);
    vec![
        Call::Create(Box::new(create())),
        Call::Start,
        Call::Output(ProcessRef::Init, OutputStream::Stdout),
        Call::Output(exec.clone(), OutputStream::Stderr),
        Call::Stdin(ProcessRef::Init),
        Call::CopyOut("/etc/hosts".into()),
        Call::CopyIn(copy_in()),
        Call::StreamFiles(FileStream::Changes),
        Call::StreamFiles(FileStream::Layer),
        Call::OpenFiles(Box::new(create())),
        Call::StatPath("/etc/hosts".into()),
        Call::Exec(Box::new(process())),
        Call::Wait(exec.clone()),
        Call::Wait(ProcessRef::Init),
        Call::Signal(exec, Signal::TERM),
        Call::Resize(ProcessRef::Init, TerminalSize { rows: 24, columns: 80 }),
        Call::Pause,
        Call::Unpause,
        Call::Update(Box::new(container().limits)),
        Call::Rewire(Box::new(rewired())),
        Call::Reconfigure(Box::new(Reconfigured { cards: cards(), hosts: String::new(), resolv_conf: String::new() })),
        Call::Resolve,
        Call::Processes,
        Call::Sockets,
        Call::Stats,
        Call::Facts,
        Call::Stop(Signal::TERM, Some(10_000)),
        Call::Shutdown,
    ]
}

pub fn cards() -> Vec<Card> {
    vec![Card { mac: "02:00:00:00:00:01".parse().expect("a hardware address"), interface: None }]
}

pub fn rewired() -> Rewired {
    let hosts = "127.0.0.1 localhost\n".into();
    Rewired { network: Network::default(), hosts, resolv_conf: "nameserver 127.0.0.11\n".into() }
}

pub fn copy_in() -> CopyIn {
    CopyIn { path: "/tmp".into(), no_overwrite_dir_non_dir: true, copy_uid_gid: false }
}

pub fn process() -> Process {
    Process {
        args: vec!["sh".into(), "-c".into(), "exit 3".into()],
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        user: "nobody:users".parse().expect("a user and a group"),
        additional_groups: vec!["audio".into()],
        terminal: Some(TerminalSize { rows: 24, columns: 80 }),
        stdin: true,
        capabilities: Capabilities::DOCKER_DEFAULT,
        no_new_privileges: true,
        seccomp: Some(Seccomp { program: vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f], log: false, allow_speculation: true }),
        rlimits: vec![Rlimit { kind: RlimitKind::Nofile, soft: Some(1024), hard: None }],
        oom_score_adj: -10,
    }
}

pub fn container() -> Container {
    Container {
        id: ContainerId::from_random([0xc0; 32]),
        hostname: "box".into(),
        domainname: "lan".into(),
        init: process(),
        stdin_once: true,
        reaper: true,
        read_only: true,
        ephemeral: true,
        etc: EtcFiles { hosts: "127.0.0.1 localhost\n".into(), hostname: "box\n".into(), resolv_conf: String::new() },
        limits: Limits {
            memory: Some(Bytes::mib(64)),
            memory_swap: Some(MemorySwap::Total(Bytes::mib(128))),
            cpu_quota: Some(NanoCpus::ONE.into()),
            cpuset_cpus: "0-1".parse().ok(),
            pids: Some(10),
            ..Limits::default()
        },
        shm_size: Some(Bytes::mib(64)),
        tmpfs: Tmpfs::new("/run", "exec,size=1m").into_iter().collect(),
        sysctls: Sysctl::new("net.ipv4.ip_forward", "1").into_iter().collect(),
        namespaces: Namespaces::default(),
        privileged: false,
        devices: vec![Device { host_path: "/dev/fuse".into(), path: "/dev/fuse".into(), access: DeviceAccess::ALL }],
        device_rules: "c 10:* rw".parse().into_iter().collect(),
        masked_paths: vec!["/proc/kcore".into()],
        readonly_paths: vec!["/proc/sys".into()],
    }
}

pub fn create() -> Create {
    let layers = vec![Extent { offset: 0, length: 4096 }, Extent { offset: 4096, length: 512 }];
    Create {
        container: container(),
        place: Place::Guest(GuestPlace { layers, fresh: true, time_ns: 1_700_000_000_000_000_000, entropy: vec![1, 2, 3], cards: cards() }),
    }
}
