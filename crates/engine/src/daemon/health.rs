//! Health checks: a command run in the container now and then, by Docker's
//! rules (moby `daemon/health.go`).
//!
//! ```text
//!   starting ──(a probe succeeds)──▶ healthy ⇄ unhealthy
//!       └──────(retries in a row fail)──────────▲
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use casemate_image::Healthcheck;
use casemate_model::{ErrorClass, Failure, ProcessRef, Signal};
use casemate_wire::{Client, Stream};
use jiff::Timestamp;
use tokio::io::AsyncReadExt;

use super::Daemon;
use super::attach::Streams;
use super::entry::{Entry, Status};

/// Results kept, and bytes of output of each, as in Docker.
const KEPT: usize = 5;
const MAX_OUTPUT: usize = 4096;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: u32 = 3;

/// The command of a probe, if there is to be one.
fn command(check: &Healthcheck) -> Option<Vec<String>> {
    let (kind, rest) = check.test.split_first()?;
    match kind.as_str() {
        "CMD" => Some(rest.to_vec()),
        "CMD-SHELL" => Some(vec!["/bin/sh".into(), "-c".into(), rest.join(" ")]),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Probe {
    pub start: Timestamp,
    pub end: Timestamp,
    pub exit_code: i32,
    pub output: String,
}

#[derive(Clone, Debug)]
pub struct HealthReport {
    pub status: HealthStatus,
    pub failing_streak: u32,
    /// Oldest first.
    pub log: VecDeque<Probe>,
}

/// Nothing where there is no check, or the container does not run.
#[derive(Debug, Default)]
pub struct Health(RefCell<Option<HealthReport>>);

impl Health {
    /// Nobody knows of one that is not probed: dockerd says unhealthy.
    pub(super) fn end(&self) {
        if let Some(report) = &mut *self.0.borrow_mut() {
            report.status = HealthStatus::Unhealthy;
        }
    }

    pub fn report(&self) -> Option<HealthReport> {
        self.0.borrow().clone()
    }

    fn begin(&self) {
        let report = HealthReport { status: HealthStatus::Starting, failing_streak: 0, log: VecDeque::new() };
        self.0.replace(Some(report));
    }

    /// The new status, if it is another.
    fn take_in(&self, probe: Probe, in_start_period: bool, retries: u32) -> Option<HealthStatus> {
        let mut report = self.0.borrow_mut();
        let report = report.as_mut()?;
        let before = report.status;
        if probe.exit_code == 0 {
            report.failing_streak = 0;
            report.status = HealthStatus::Healthy;
        } else if !(in_start_period && before == HealthStatus::Starting) {
            report.failing_streak += 1;
            if report.failing_streak >= retries {
                report.status = HealthStatus::Unhealthy;
            }
        }
        if report.log.len() == KEPT {
            report.log.pop_front();
        }
        report.log.push_back(probe);
        (report.status != before).then_some(report.status)
    }
}

impl Daemon {
    /// Probes until the container ends; dropped with it.
    pub(crate) async fn look_after_health(self: Rc<Self>, entry: Rc<Entry>, client: Client) {
        let Some(check) = entry.container().health_check() else {
            return;
        };
        let Some(command) = command(&check) else {
            return;
        };
        entry.health.begin();
        let interval = check.interval.unwrap_or(DEFAULT_INTERVAL);
        let start_period = check.start_period.unwrap_or_default();
        let started = Instant::now();
        loop {
            let starting = entry.health.report().is_some_and(|report| report.status == HealthStatus::Starting);
            let pause = match starting && started.elapsed() < start_period {
                true => check.start_interval.unwrap_or(DEFAULT_START_INTERVAL),
                false => interval,
            };
            tokio::time::sleep(pause).await;
            if entry.status() == Status::Paused {
                continue;
            }
            let timeout = check.timeout.unwrap_or(DEFAULT_TIMEOUT);
            let probe = self.probe(&entry, &client, command.clone(), timeout).await;
            let retries = check.retries.unwrap_or(DEFAULT_RETRIES);
            if let Some(status) = entry.health.take_in(probe, started.elapsed() < start_period, retries) {
                self.note(&entry, format!("health_status: {}", status.as_str()), []);
            }
        }
    }

    async fn probe(&self, entry: &Entry, client: &Client, command: Vec<String>, timeout: Duration) -> Probe {
        let start = Timestamp::now();
        let (exit_code, output) = match self.run_probe(entry, client, command, timeout).await {
            Ok(ended) => ended,
            Err(failure) => (-1, failure.message),
        };
        Probe { start, end: Timestamp::now(), exit_code, output }
    }

    async fn run_probe(
        &self,
        entry: &Entry,
        client: &Client,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<(i32, String), Failure> {
        let process =
            self.engine().process(&entry.container(), command, None).map_err(|error| Failure::from_error(&error))?;
        let exec = ProcessRef::Exec(client.exec(&process).await?.id);
        let streams = Streams::open(client.clone(), exec.clone(), false).await?;
        let mut output = Vec::new();
        let ended = async {
            collect(streams, &mut output).await;
            client.wait(&exec).await
        };
        match tokio::time::timeout(timeout, ended).await {
            Ok(exited) => {
                let code = exited?.status.code().into();
                Ok((code, String::from_utf8_lossy(&output).into_owned()))
            }
            Err(_) => {
                client.signal(&exec, Signal::KILL).await?;
                let message = format!("Health check exceeded timeout ({}s)", timeout.as_secs_f64());
                Err(Failure::new(ErrorClass::Timeout, message))
            }
        }
    }
}

/// Both outputs as they come, cut at the limit and read to their end.
async fn collect(streams: Streams, output: &mut Vec<u8>) {
    let Streams { stdout, stderr, .. } = streams;
    let mut open: Vec<Stream> = [Some(stdout), stderr].into_iter().flatten().collect();
    let mut first = [0; MAX_OUTPUT];
    let mut second = [0; MAX_OUTPUT];
    while let [one, rest @ ..] = &mut open[..] {
        let (at, length, chunk) = match rest {
            [] => (0, one.read(&mut first).await, &first),
            [two, ..] => tokio::select! {
                length = one.read(&mut first) => (0, length, &first),
                length = two.read(&mut second) => (1, length, &second),
            },
        };
        match length {
            Ok(length @ 1..) => {
                let room = MAX_OUTPUT - output.len();
                output.extend_from_slice(&chunk[..length.min(room)]);
            }
            _ => drop(open.remove(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        Probe { start: Timestamp::UNIX_EPOCH, end: Timestamp::UNIX_EPOCH, exit_code, output: String::new() }
    }

    #[test]
    fn failures_in_the_start_period_do_not_count_and_one_success_heals() {
        let health = Health::default();
        assert!(health.take_in(probe(0), false, 3).is_none(), "there is no check");
        health.begin();
        assert_eq!(health.take_in(probe(1), true, 1), None);
        assert_eq!(health.take_in(probe(1), false, 2), None);
        assert_eq!(health.take_in(probe(1), false, 2), Some(HealthStatus::Unhealthy));
        assert_eq!(health.take_in(probe(0), false, 2), Some(HealthStatus::Healthy));
        assert_eq!(health.take_in(probe(1), true, 1), Some(HealthStatus::Unhealthy), "not starting any more");
        for _ in 0..9 {
            health.take_in(probe(1), false, 1);
        }
        assert_eq!(health.report().unwrap().log.len(), KEPT);
    }

    #[test]
    fn probes_are_commands_or_shell_lines() {
        let command = |test: &[&str]| {
            super::command(&Healthcheck {
                test: test.iter().map(|s| (*s).to_owned()).collect(),
                ..Healthcheck::default()
            })
        };
        assert_eq!(command(&["CMD", "a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(command(&["CMD-SHELL", "a || b"]).unwrap(), ["/bin/sh", "-c", "a || b"]);
        assert_eq!((command(&["NONE"]), command(&[])), (None, None));
    }
}
