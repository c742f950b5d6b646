use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use casemate_model::{ErrorClass, ExitStatus};
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::*;
use crate::{Client, CopyIn, FileStream, PathStat, Unpacking};

/// Has one process, which reads nothing of its input.
struct Deaf {
    input: Cell<Option<DuplexStream>>,
    has_ended: watch::Sender<bool>,
}

fn not_here<T>() -> Result<T, Failure> {
    Err(Failure::new(ErrorClass::InvalidArgument, "only input and end are asked for"))
}

impl Service for Deaf {
    type Stdin = DuplexStream;
    type Output = tokio::io::Empty;
    type Queries = DuplexStream;

    async fn create(&self, _: Create) -> Result<(), Failure> {
        not_here()
    }
    async fn start(&self) -> Result<Started, Failure> {
        not_here()
    }
    async fn exec(&self, _: Process) -> Result<ExecStarted, Failure> {
        not_here()
    }
    async fn signal(&self, _: ProcessRef, _: Signal) -> Result<(), Failure> {
        not_here()
    }
    async fn resize(&self, _: ProcessRef, _: TerminalSize) -> Result<(), Failure> {
        not_here()
    }
    async fn wait(&self, _: ProcessRef) -> Result<Exited, Failure> {
        let _ = self.has_ended.subscribe().wait_for(|ended| *ended).await;
        Ok(Exited { status: ExitStatus::Code(0), oom_killed: false, reason: None })
    }
    async fn pause(&self) -> Result<(), Failure> {
        not_here()
    }
    async fn unpause(&self) -> Result<(), Failure> {
        not_here()
    }
    async fn update(&self, _: Limits) -> Result<(), Failure> {
        not_here()
    }
    async fn rewire(&self, _: Rewired) -> Result<(), Failure> {
        not_here()
    }
    async fn reconfigure(&self, _: Reconfigured) -> Result<(), Failure> {
        not_here()
    }
    async fn resolve(&self) -> Result<DuplexStream, Failure> {
        not_here()
    }
    async fn processes(&self) -> Result<Vec<ContainerProcess>, Failure> {
        not_here()
    }
    async fn sockets(&self) -> Result<Sockets, Failure> {
        not_here()
    }
    async fn stats(&self) -> Result<Stats, Failure> {
        not_here()
    }
    async fn facts(&self) -> Result<GuestFacts, Failure> {
        not_here()
    }
    async fn shutdown(&self) -> Result<(), Failure> {
        not_here()
    }
    async fn stdin(&self, _: ProcessRef) -> Result<DuplexStream, Failure> {
        self.input.take().map_or_else(not_here, Ok)
    }
    async fn output(&self, _: ProcessRef, _: OutputStream) -> Result<tokio::io::Empty, Failure> {
        not_here()
    }
}

/// Takes nothing.
struct Nowhere(tokio::io::Sink);

impl AsyncWrite for Nowhere {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Unpacking for Nowhere {
    async fn finish(self) -> Result<(), Failure> {
        not_here()
    }
}

impl Files for Deaf {
    type Archive = tokio::io::Empty;
    type Unpacking = Nowhere;

    async fn open_files(&self, _: Create) -> Result<(), Failure> {
        not_here()
    }
    async fn stat_path(&self, _: String) -> Result<PathStat, Failure> {
        not_here()
    }
    async fn copy_out(&self, _: String) -> Result<(PathStat, tokio::io::Empty), Failure> {
        not_here()
    }
    async fn copy_in(&self, _: CopyIn) -> Result<Nowhere, Failure> {
        not_here()
    }
    async fn stream_files(&self, _: FileStream) -> Result<tokio::io::Empty, Failure> {
        not_here()
    }
}

/// A client that has filled the process's input, and the service's side of
/// that input.
async fn stuck() -> (Client, Stream, Rc<Deaf>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (input, process) = tokio::io::duplex(16);
    let service = Rc::new(Deaf { input: Cell::new(Some(input)), has_ended: watch::channel(false).0 });
    tokio::task::spawn_local(serve(Rc::clone(&service), theirs, std::future::pending::<()>()));
    let client = Client::connect(ours).await.unwrap();
    let mut stdin = client.stdin(&ProcessRef::Init).await.unwrap();
    stdin.write_all(&[0; 100_000]).await.unwrap();
    (client, stdin, service, process)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(Duration::from_secs(20), test).await.unwrap() });
}

/// A process that reads nothing does not keep the input of a client that has
/// gone: it sees its end, after what is in its pipe.
#[test]
fn input_ends_with_its_client() {
    run(async {
        let (_client, stdin, _service, mut process) = stuck().await;
        drop(stdin);
        // What is left is what the pipe holds.
        let mut left = Vec::new();
        process.read_to_end(&mut left).await.unwrap();
        assert!(left.len() < 100_000, "all of it was still passed on");
    });
}

#[test]
fn input_ends_with_its_process() {
    run(async {
        let (_client, mut stdin, service, mut process) = stuck().await;
        service.has_ended.send_replace(true);
        // Its writer is told.
        let block = [0; 16 << 10];
        while stdin.write_all(&block).await.is_ok() {}
        process.read_to_end(&mut Vec::new()).await.unwrap();
    });
}
