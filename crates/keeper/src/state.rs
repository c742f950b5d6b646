//! How a process ended, and what the keeper writes down of it.

use casemate_model::{ErrorClass, ExitStatus, Exited, Failure, Signal};
use casemate_record::{EndRecord, SpanRecord, StateRecord, VmRecord};
use casemate_wire::Span;
use tokio::sync::watch;

use crate::timeline::Step;

/// When it ended last is still told while it runs, as in Docker.
pub(crate) fn running(before: StateRecord, pid: u32, vm: Option<VmRecord>, timeline: Vec<Step>) -> StateRecord {
    StateRecord {
        status: "running".into(),
        pid: Some(pid),
        keeper_pid: Some(std::process::id()),
        started: Some(jiff::Timestamp::now().to_string()),
        finished: before.finished,
        vm,
        timeline: timeline
            .into_iter()
            .map(|Step { span: Span { name, start_us, duration_us }, within }| SpanRecord {
                name,
                start_us,
                duration_us,
                within,
            })
            .collect(),
        ..StateRecord::created()
    }
}

pub(crate) fn ended(state: StateRecord, exited: &Exited) -> StateRecord {
    let Exited { status, oom_killed, reason } = exited;
    state.ended(EndRecord { exit_code: status.code().into(), oom_killed: *oom_killed, error: reason.clone() })
}

/// A container whose command could not be started stays `created`, or what its
/// run before has made of it, with the exit code that its client gets, as in
/// Docker.
pub(crate) fn not_started(before: StateRecord, failure: &Failure) -> StateRecord {
    let exit_code = match failure.class {
        ErrorClass::CommandNotFound | ErrorClass::CommandNotExecutable => failure.class.exit_code().into(),
        _ => 128,
    };
    let StateRecord { started, finished, .. } = before;
    let status = if started.is_some() { "exited" } else { "created" };
    StateRecord {
        status: status.into(),
        started,
        finished,
        exit_code: Some(exit_code),
        error: Some(failure.message.clone()),
        ..StateRecord::created()
    }
}

/// Waits until it is told how a process ended.
pub(crate) async fn exited(told: &watch::Sender<Option<Exited>>) -> Exited {
    let mut receiver = told.subscribe();
    match receiver.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(exited)) => exited.clone(),
        _ => unreachable!("the sender is there as long as this waits"),
    }
}

/// A process whose end nobody could see.
pub(crate) fn unseen(failure: Failure) -> Exited {
    Exited { status: ExitStatus::Signal(Signal::KILL), oom_killed: false, reason: Some(failure.message) }
}
