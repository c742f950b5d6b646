//! Standing still and going on.

use std::rc::Rc;
use std::time::{Duration, Instant};

use casemate_model::{ErrorClass, ExitStatus, Failure, ProcessRef, Signal};

use crate::bed::{Bed, HEALTH_DEADLINE, both_modes, cpu_ticks, process};

both_modes![it_stands_still_and_goes_on, its_end_does_not_wait, a_paused_one_is_removed];

/// Writes as fast as it can, and answers a signal.
const BUSY: &str = "trap 'echo term' TERM; echo ready; while :; do echo tick; done";

/// Time for everything that runs to be seen running.
const WHILE: Duration = Duration::from_millis(300);

fn class(result: Result<(), casemate_wire::CallError>) -> (ErrorClass, String) {
    let failure = Failure::from(result.unwrap_err());
    (failure.class, failure.message)
}

async fn it_stands_still_and_goes_on(bed: Rc<Bed>) {
    let mut running = bed.running(&bed.container(BUSY), "ready").await;
    let id = running.paths.dir.file_name().unwrap().to_string_lossy().into_owned();
    let (unpaused, message) = class(running.client.unpause().await);
    assert_eq!((unpaused, message), (ErrorClass::Conflict, format!("container {id} is not paused")));

    running.client.pause().await.unwrap();
    assert!(bed.state().paused && bed.state().is_running());
    let (paused, message) = class(running.client.pause().await);
    assert_eq!((paused, message), (ErrorClass::Conflict, format!("container {id} is already paused")));
    // What was on its way comes, and then nothing.
    while !running.is_silent_for(WHILE).await {}
    let ticks = cpu_ticks(running.pid).unwrap();
    let stats = running.client.stats().await.unwrap();
    assert!(stats.pids.current >= 1 && stats.cpu.total_ns > 0, "{stats:?}");
    assert!(!running.client.processes().await.unwrap().is_empty());
    let refused = running.exec(&process(&["true"])).await.unwrap_err();
    assert_eq!(refused.message, format!("Container {id} is paused, unpause the container before exec"));
    // A signal, and a change of limits, find it when it goes on.
    running.client.signal(&ProcessRef::Init, Signal::TERM).await.unwrap();
    let limits = casemate_model::Limits { pids: Some(123), ..Default::default() };
    running.client.update(&limits).await.unwrap();
    // Longer than a guest may be silent.
    tokio::time::sleep(HEALTH_DEADLINE * 2).await;
    assert!(running.is_silent_for(WHILE).await);
    assert_eq!(running.client.stats().await.unwrap().cpu.total_ns / 10_000_000, stats.cpu.total_ns / 10_000_000);
    let spent = cpu_ticks(running.pid).unwrap() - ticks;
    assert!(spent <= 2, "{spent} ticks while it stood still");

    running.client.unpause().await.unwrap();
    assert!(!bed.state().paused);
    running.read_until("term").await;
    running.read_until("tick").await;
    let limit = process(&["sh", "-c", "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null"]);
    assert_eq!(running.exec(&limit).await.unwrap().1, "123\n");
    // It is alive, and watched.
    tokio::time::sleep(HEALTH_DEADLINE * 2).await;
    running.read_until("tick").await;
    running.end().await;
}

async fn its_end_does_not_wait(bed: Rc<Bed>) {
    let mut running = bed.running(&bed.container(BUSY), "ready").await;
    running.client.pause().await.unwrap();
    let started = Instant::now();
    running.client.signal(&ProcessRef::Init, Signal::KILL).await.unwrap();
    while !running.is_silent_for(WHILE).await {}
    let exited = running.exited().await;
    assert_eq!((exited.status, exited.reason), (ExitStatus::Signal(Signal::KILL), None));
    assert!(started.elapsed() < Duration::from_secs(30));
    assert!(!bed.state().paused);

    // And asked to stop, it has its time to.
    let stoppable = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let running = bed.running(&bed.container(stoppable), "ready").await;
    running.client.pause().await.unwrap();
    running.client.stop(Signal::TERM, Some(30_000)).await.unwrap();
    assert_eq!(running.exited().await.status, ExitStatus::Code(7));
}

async fn a_paused_one_is_removed(bed: Rc<Bed>) {
    let running = bed.running(&bed.container(BUSY), "ready").await;
    running.client.pause().await.unwrap();
    running.end().await;
}
