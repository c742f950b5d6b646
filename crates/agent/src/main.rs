//! The agent: PID 1 of a utility VM.
//!
//! It makes the VM a host that runs one process container: mounts the
//! kernel's filesystems, speaks the wire with the keeper over the virtio
//! port, sets up the disks it is told of, and starts the container with the
//! same launcher that the keeper uses on the host.
//!
//! It trusts its keeper and not the container. When it cannot go on it ends,
//! which for PID 1 is a kernel panic that the keeper sees; what it has to say
//! goes to the console first.
//!
//! Under software emulation each piece of code costs by far the most the first
//! time it runs, so what is done here before the container's first output is
//! kept short: it is measured (`guest/kernel/README.md`).
#![no_main]

mod disks;
mod files;
mod port;
mod resolver;
mod root;
mod service;
mod sys;

use std::rc::Rc;

use casemate_model::chain;
use tokio::task::LocalSet;

use service::Agent;

#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("cannot set up the root")]
    Root(#[source] root::RootError),
    #[error("cannot open the port to the keeper")]
    Port(#[source] std::io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("the keeper does not speak this agent's protocol")]
    Hello(#[source] casemate_wire::HelloError),
}

/// The whole life of the VM. Returns only if it cannot end it.
fn live() {
    match run() {
        // The keeper is gone or has asked for it; either way this VM is over.
        Ok(()) => root::reboot(),
        Err(error) => root::say(&format!("casemate-agent: {}", chain(&error))),
    }
}

fn run() -> Result<(), AgentError> {
    let reaper = root::open_reaper().map_err(AgentError::Root)?;
    root::set_up().map_err(AgentError::Root)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Runtime)?;
    LocalSet::new().block_on(&runtime, async {
        let port = port::open().map_err(AgentError::Port)?;
        let agent = Rc::new(Agent::new(reaper.as_ref().map(root::path_of)));
        let closing = Rc::clone(&agent);
        casemate_wire::serve(agent, port, async move { closing.shut_down().await }).await.map_err(AgentError::Hello)?;
        Ok(())
    })
}
