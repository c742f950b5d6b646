//! With real sockets, on a machine that is one network namespace: the host listens at
//! some of its loopback addresses, the container at others. Without the rights to make
//! one nothing is tested. With the firewall between them: in its tests.

mod bind;
mod tcp;
mod udp;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;

use super::Held;
use crate::testbed::Node;
use crate::{Protocol, Publication};

/// Where the container listens, if it does.
const CONTAINER: &str = "127.0.0.2:80";

/// What is waited for takes milliseconds, even on a machine that has much to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// Children take less than that to execute their programs.
const EXECUTED: Duration = Duration::from_secs(10);

fn on_a_host<F: Future<Output = ()>>(body: impl FnOnce() -> F + Send) {
    if let Some(node) = Node::new() {
        node.run(|runtime| {
            let body = async { timeout(PATIENCE, body()).await.expect("it waits for what does not happen") };
            LocalSet::new().block_on(runtime, body);
        });
    }
}

fn publication(protocol: Protocol, host: &str) -> Publication {
    Publication { protocol, host: address(host), to: address(CONTAINER) }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Once it succeeds. A child that another test starts has all that this process has
/// open, until it has executed its program; nothing tells when that is.
fn at_last<T, E: Debug>(attempt: impl Fn() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < EXECUTED => yield_now(),
            result => return result.unwrap(),
        }
    }
}

fn serve(protocol: Protocol, host: &str) -> JoinHandle<()> {
    spawn_local(at_last(|| Held::bind(&[publication(protocol, host)])).serve())
}

/// Returns when there is nothing of it any more.
async fn stop(served: JoinHandle<()>) {
    served.abort();
    assert!(served.await.unwrap_err().is_cancelled());
}
