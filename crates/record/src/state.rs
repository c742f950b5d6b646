//! A container's state: written by its keeper, and by the engine once the
//! keeper is gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::file::VERSION;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    pub version: u32,
    /// `created`, `running` or `exited`.
    pub status: String,
    /// It runs and stands still.
    #[serde(default)]
    pub paused: bool,
    /// The init's pid on the host, or the VM process's.
    pub pid: Option<u32>,
    pub keeper_pid: Option<u32>,
    /// RFC 3339.
    pub started: Option<String>,
    pub finished: Option<String>,
    pub exit_code: Option<i32>,
    pub oom_killed: bool,
    /// Why it could not start, or ended without its own doing.
    pub error: Option<String>,
    pub vm: Option<VmRecord>,
    /// The steps of the last start.
    pub timeline: Vec<SpanRecord>,
}

/// The VM around a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRecord {
    pub accelerator: String,
    pub accelerator_reason: String,
    /// What the VM was given, in bytes.
    pub memory: u64,
    /// Of that, what is not the container's: the guest's kernel and agent.
    pub memory_overhead: u64,
    pub cpus: u32,
    pub uid: u32,
    pub kernel_release: String,
    pub boot_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanRecord {
    pub name: String,
    pub start_us: u64,
    pub duration_us: u64,
    /// The name of the step that this one is part of.
    #[serde(default)]
    pub within: Option<String>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndRecord {
    pub exit_code: i32,
    pub oom_killed: bool,
    pub error: Option<String>,
}

impl StateRecord {
    pub fn created() -> Self {
        Self {
            version: VERSION,
            status: "created".into(),
            paused: false,
            pid: None,
            keeper_pid: None,
            started: None,
            finished: None,
            exit_code: None,
            oom_killed: false,
            error: None,
            vm: None,
            timeline: Vec::new(),
        }
    }

    /// The same container, ended now.
    pub fn ended(self, end: EndRecord) -> Self {
        let EndRecord { exit_code, oom_killed, error } = end;
        Self {
            status: "exited".into(),
            paused: false,
            pid: None,
            keeper_pid: None,
            finished: Some(jiff::Timestamp::now().to_string()),
            exit_code: Some(exit_code),
            oom_killed,
            error,
            ..self
        }
    }

    /// How long its last run took, of one that has ended.
    pub fn ran_for(&self) -> Option<Duration> {
        let time = |text: &Option<String>| text.as_deref()?.parse::<jiff::Timestamp>().ok();
        time(&self.finished)?.duration_since(time(&self.started)?).try_into().ok()
    }

    pub fn is_running(&self) -> bool {
        self.status == "running"
    }
}
