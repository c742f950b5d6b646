//! The keeper: one process for one container, from its preparation to its
//! last remains.
//!
//! ```text
//!   new ──create──▶ created ──start──▶ running (paused, again running) ──▶ ended
//!    ├──────────────────┴─(first client gone, or a failure)──▶ ended
//!    └──open_files──▶ (see [`files`]) ───────────────────────────┘
//! ```
//!
//! It answers the wire on a socket that its engine has bound, and holds a lock
//! that its engine has taken, so that whoever comes later can tell whether it
//! lives. Under process isolation the container's init is its child; under
//! hyperv isolation the VM process is, and what it is asked it asks the agent.
//! Killed, it takes its child with it (parent-death signal); files and control
//! groups are then taken away by the next engine that comes by.
//!
//! Single-threaded: the launcher clones this process.

mod attach;
mod backend;
mod cards;
mod execs;
mod files;
mod input;
mod keeper;
mod names;
mod network;
mod pause;
mod ports;
mod process_mode;
mod pump;
mod resolver;
mod service;
mod state;
mod timeline;
mod vm_mode;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use casemate_model::{ContainerId, ContainerName, ErrorClass, Failure};
use casemate_record::ContainerPaths;
use casemate_record::log::Retention;
use tokio::net::UnixListener;
use tokio::task::{JoinSet, LocalSet};

use keeper::Keeper;
use service::Desk;

/// What a keeper is told when it is started.
#[derive(Debug)]
pub struct Settings {
    pub id: ContainerId,
    pub name: ContainerName,
    pub paths: ContainerPaths,
    /// The container is removed when it ends.
    pub auto_remove: bool,
    pub log: Retention,
    /// A guest that does not answer for this long is taken for dead.
    pub health_deadline: Duration,
    /// Bound and listening, with the first client in its queue.
    pub listener: OwnedFd,
    /// Locked; held until the process ends.
    pub lock: OwnedFd,
}

/// Keeps a container until it has ended and been cleared up.
pub fn run(settings: Settings) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, keep(settings))
}

async fn keep(settings: Settings) -> io::Result<()> {
    let Settings { id, name, paths, auto_remove, log, health_deadline, listener, lock } = settings;
    let listener = std::os::unix::net::UnixListener::from(listener);
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let keeper = Rc::new(Keeper::new(id, name, paths, auto_remove, log, health_deadline));

    // The first client is the engine that made the container.
    let (first, _) = listener.accept().await?;
    let mut connections = JoinSet::new();
    let creator = Rc::clone(&keeper);
    connections.spawn_local(async move {
        let lost = serve(Rc::clone(&creator), first).await;
        creator.creator_gone().await;
        lost
    });
    loop {
        tokio::select! {
            connection = listener.accept() => {
                match connection {
                    Ok((stream, _)) => drop(connections.spawn_local(serve(Rc::clone(&keeper), stream))),
                    Err(error) => {
                        // Out of descriptors, most likely: the container goes on.
                        tracing::warn!(%error, "client not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
            Some(_) = connections.join_next() => {}
            () = keeper.gone() => break,
        }
    }
    // Last answers; a client that does not read its own is its own loss.
    let answered = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_ANSWERS, answered).await.is_err() {
        tracing::warn!("a client did not take its last answers");
    }
    drop(lock);
    Ok(())
}

/// Gives those who hold descriptors time to let go of them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All that is left to send by then are exit codes.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

async fn serve(keeper: Rc<Keeper>, stream: tokio::net::UnixStream) {
    let desk = Rc::new(Desk::new(Rc::clone(&keeper)));
    match casemate_wire::serve(desk, stream, keeper.gone()).await {
        Ok(lost) => tracing::debug!(%lost, "client gone"),
        Err(error) => tracing::warn!(error = casemate_model::chain(&error), "client refused"),
    }
}

/// Runs the future on its own, so that it ends whatever becomes of the caller.
async fn to_its_end<T: 'static>(future: impl Future<Output = Result<T, Failure>> + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_local(future).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new(ErrorClass::Internal, format!("the keeper failed: {error}"))),
    }
}
