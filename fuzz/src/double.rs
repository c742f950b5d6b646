//! A service that notes what it is asked, in checked types, and answers what
//! it was told to.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use casemate_model::{
    Bytes, ExecId, ExitStatus, Exited, Failure, Limits, OutputStream, Process, ProcessRef, Protocol, Signal,
    TerminalSize,
};
use casemate_wire::{
    BlkioStats, ContainerProcess, CopyIn, CpuStats, Create, ExecStarted, FileStream, Files, GuestFacts, MemoryStats,
    PathStat, PidsStats, Reconfigured, Rewired, Service, Socket, SocketOwner, Sockets, Span, Started, Stats, Unpacking,
    VmCost,
};
use tokio::io::{AsyncReadExt, AsyncWrite, Join, Repeat, Sink, Take};

/// A request, as its service sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Create(Box<Create>),
    Start,
    Exec(Box<Process>),
    Signal(ProcessRef, Signal),
    Resize(ProcessRef, TerminalSize),
    Wait(ProcessRef),
    Stop(Signal, Option<u64>),
    Pause,
    Unpause,
    Update(Box<Limits>),
    Rewire(Box<Rewired>),
    Reconfigure(Box<Reconfigured>),
    Resolve,
    Processes,
    Sockets,
    Stats,
    Facts,
    Shutdown,
    Stdin(ProcessRef),
    Output(ProcessRef, OutputStream),
    OpenFiles(Box<Create>),
    StatPath(String),
    CopyOut(String),
    CopyIn(CopyIn),
    StreamFiles(FileStream),
}

/// What a [`Double`] answers.
#[derive(Clone, Debug)]
pub struct Answers {
    /// To everything, if set.
    pub refusal: Option<Failure>,
    pub started: Started,
    pub exec: ExecStarted,
    /// `None`: the process never ends.
    pub exited: Option<Exited>,
    pub processes: Vec<ContainerProcess>,
    pub sockets: Sockets,
    pub stats: Stats,
    pub facts: GuestFacts,
    pub stat: PathStat,
    /// Bytes of output of any process, and of any archive.
    pub output: u64,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            refusal: None,
            started: Started {
                pid: 4711,
                timeline: vec![Span { name: "boot".into(), start_us: 12, duration_us: 490_000 }],
            },
            exec: ExecStarted { id: ExecId::from_random([0xe5; 32]), pid: 4712 },
            exited: Some(Exited { status: ExitStatus::Code(3), oom_killed: false, reason: Some("ended".into()) }),
            processes: vec![ContainerProcess {
                pid: 1,
                parent: 0,
                uid: 0,
                tty: Some(0),
                state: 'S',
                cpu_ms: 20,
                cpu_percent: 3,
                started: 1_700_000_000,
                virtual_memory: Bytes::mib(4),
                resident_memory: Bytes::mib(1),
                command: "sh -c true".into(),
            }],
            sockets: Sockets {
                sockets: vec![Socket {
                    protocol: Protocol::Tcp,
                    local: ([10, 1, 0, 2], 80).into(),
                    peer: Some(([10, 1, 0, 1], 50_000).into()),
                    owner: Some(SocketOwner { pid: 1, name: "httpd".into() }),
                }],
                more: false,
            },
            stats: Stats {
                cpu: CpuStats { total_ns: 5_000_000, machine_ns: 80_000_000, online_cpus: 1, ..CpuStats::default() },
                memory: MemoryStats {
                    usage: Bytes::mib(3),
                    max_usage: Some(Bytes::mib(4)),
                    limit: Bytes::mib(64),
                    failures: 0,
                    detail: vec![("inactive_file".into(), 4096)],
                },
                blkio: vec![BlkioStats { major: 8, minor: 0, read_bytes: 4096, write_bytes: 0, reads: 1, writes: 0 }],
                pids: PidsStats { current: 2, limit: Some(10) },
                vm: Some(VmCost { cpu_ns: 9_000_000, memory: Bytes::mib(90) }),
            },
            facts: GuestFacts {
                kernel_release: "6.1.0".into(),
                boot_id: "3f2c8d1e-0000-4000-8000-000000000000".into(),
                memory_total: Bytes::mib(128),
                cpus: 1,
            },
            stat: PathStat {
                name: "link".into(),
                size: 5,
                mode: 0o120_777,
                mtime: (1_700_000_000, 123_456_789),
                link_target: "/etc/hosts".into(),
            },
            output: 60,
        }
    }
}

#[derive(Debug, Default)]
pub struct Double {
    answers: Answers,
    calls: RefCell<Vec<Call>>,
}

impl Double {
    pub fn new(answers: Answers) -> Self {
        Self { answers, calls: RefCell::default() }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    fn answer<T>(&self, call: Call, answer: T) -> Result<T, Failure> {
        self.calls.borrow_mut().push(call);
        match &self.answers.refusal {
            Some(failure) => Err(failure.clone()),
            None => Ok(answer),
        }
    }

    async fn ended<T>(&self, answer: impl FnOnce(Exited) -> T) -> Result<T, Failure> {
        match &self.answers.exited {
            Some(exited) => Ok(answer(exited.clone())),
            None => std::future::pending().await,
        }
    }
}

/// Takes an archive, as much as `left` says.
#[derive(Debug)]
pub struct Bin {
    left: u64,
}

impl AsyncWrite for Bin {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() as u64 > self.left {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.left -= bytes.len() as u64;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Unpacking for Bin {
    async fn finish(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Files for Double {
    type Archive = Take<Repeat>;
    type Unpacking = Bin;

    async fn open_files(&self, create: Create) -> Result<(), Failure> {
        self.answer(Call::OpenFiles(Box::new(create)), ())
    }

    async fn stat_path(&self, path: String) -> Result<PathStat, Failure> {
        self.answer(Call::StatPath(path), self.answers.stat.clone())
    }

    async fn copy_out(&self, path: String) -> Result<(PathStat, Self::Archive), Failure> {
        let archive = tokio::io::repeat(b'y').take(self.answers.output);
        self.answer(Call::CopyOut(path), (self.answers.stat.clone(), archive))
    }

    async fn copy_in(&self, copy: CopyIn) -> Result<Bin, Failure> {
        self.answer(Call::CopyIn(copy), Bin { left: self.answers.output })
    }

    async fn stream_files(&self, what: FileStream) -> Result<Self::Archive, Failure> {
        self.answer(Call::StreamFiles(what), tokio::io::repeat(b'y').take(self.answers.output))
    }
}

impl Service for Double {
    type Stdin = tokio::io::Sink;
    type Output = Take<Repeat>;
    type Queries = Join<Take<Repeat>, Sink>;

    async fn create(&self, create: Create) -> Result<(), Failure> {
        self.answer(Call::Create(Box::new(create)), ())
    }

    async fn start(&self) -> Result<Started, Failure> {
        self.answer(Call::Start, self.answers.started.clone())
    }

    async fn exec(&self, process: Process) -> Result<ExecStarted, Failure> {
        self.answer(Call::Exec(Box::new(process)), self.answers.exec.clone())
    }

    async fn signal(&self, process: ProcessRef, signal: Signal) -> Result<(), Failure> {
        self.answer(Call::Signal(process, signal), ())
    }

    async fn resize(&self, process: ProcessRef, size: TerminalSize) -> Result<(), Failure> {
        self.answer(Call::Resize(process, size), ())
    }

    async fn wait(&self, process: ProcessRef) -> Result<Exited, Failure> {
        self.answer(Call::Wait(process), ())?;
        self.ended(|exited| exited).await
    }

    async fn stop(&self, signal: Signal, timeout_ms: Option<u64>) -> Result<(), Failure> {
        self.answer(Call::Stop(signal, timeout_ms), ())?;
        self.ended(drop).await
    }

    async fn pause(&self) -> Result<(), Failure> {
        self.answer(Call::Pause, ())
    }

    async fn unpause(&self) -> Result<(), Failure> {
        self.answer(Call::Unpause, ())
    }

    async fn update(&self, limits: Limits) -> Result<(), Failure> {
        self.answer(Call::Update(Box::new(limits)), ())
    }

    async fn rewire(&self, rewired: Rewired) -> Result<(), Failure> {
        self.answer(Call::Rewire(Box::new(rewired)), ())
    }

    async fn reconfigure(&self, reconfigured: Reconfigured) -> Result<(), Failure> {
        self.answer(Call::Reconfigure(Box::new(reconfigured)), ())
    }

    async fn resolve(&self) -> Result<Self::Queries, Failure> {
        self.answer(Call::Resolve, tokio::io::join(tokio::io::repeat(b'y').take(self.answers.output), tokio::io::sink()))
    }

    async fn processes(&self) -> Result<Vec<ContainerProcess>, Failure> {
        self.answer(Call::Processes, self.answers.processes.clone())
    }

    async fn sockets(&self) -> Result<Sockets, Failure> {
        self.answer(Call::Sockets, self.answers.sockets.clone())
    }

    async fn stats(&self) -> Result<Stats, Failure> {
        self.answer(Call::Stats, self.answers.stats.clone())
    }

    async fn facts(&self) -> Result<GuestFacts, Failure> {
        self.answer(Call::Facts, self.answers.facts.clone())
    }

    async fn shutdown(&self) -> Result<(), Failure> {
        self.answer(Call::Shutdown, ())
    }

    async fn stdin(&self, process: ProcessRef) -> Result<Self::Stdin, Failure> {
        self.answer(Call::Stdin(process), tokio::io::sink())
    }

    async fn output(&self, process: ProcessRef, stream: OutputStream) -> Result<Self::Output, Failure> {
        self.answer(Call::Output(process, stream), tokio::io::repeat(b'y').take(self.answers.output))
    }
}
