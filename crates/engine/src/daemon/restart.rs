//! Restart policies: whether a container that ended is started again, and
//! after which pause. Pure; the rules are Docker's (moby `restartmanager`).

use std::time::Duration;

/// The first pause; each restart in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A run of this length starts the row anew.
const SETTLED: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    #[default]
    No,
    /// At most so often in a row; without end if 0.
    OnFailure {
        retries: u32,
    },
    Always,
    UnlessStopped,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRestartPolicy {
    #[error(
        "invalid restart policy: unknown policy '{0}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )]
    Unknown(String),
    #[error("invalid restart policy: maximum retry count can only be used with 'on-failure'")]
    RetriesWithout,
    #[error("invalid restart policy: maximum retry count cannot be negative")]
    Negative,
}

impl RestartPolicy {
    pub fn new(name: &str, retries: i64) -> Result<Self, InvalidRestartPolicy> {
        let policy = match name {
            "on-failure" => {
                let retries = u32::try_from(retries).map_err(|_| InvalidRestartPolicy::Negative)?;
                return Ok(Self::OnFailure { retries });
            }
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            unknown => return Err(InvalidRestartPolicy::Unknown(unknown.to_owned())),
        };
        match retries {
            0 => Ok(policy),
            ..0 => Err(InvalidRestartPolicy::Negative),
            _ => Err(InvalidRestartPolicy::RetriesWithout),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    pub fn retries(self) -> u32 {
        match self {
            Self::OnFailure { retries } => retries,
            _ => 0,
        }
    }

    /// Whether a container that ended like this is started again; `restarts`
    /// have been made in a row.
    pub fn restarts(self, exit_code: i32, stopped_by_user: bool, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::Always => !stopped_by_user,
            Self::UnlessStopped => !stopped_by_user,
            Self::OnFailure { retries } => exit_code != 0 && !stopped_by_user && (retries == 0 || restarts < retries),
        }
    }

    /// The same for one that is found ended when the daemon starts: `always`
    /// means also those that the user stopped.
    pub fn restarts_with_daemon(self, exit_code: i32, stopped_by_user: bool, restarts: u32) -> bool {
        self == Self::Always || self.restarts(exit_code, stopped_by_user, restarts)
    }
}

/// The pause before the next restart in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    pub(crate) fn next(&mut self, ran_for: Duration) -> Duration {
        let pause = match self.last {
            Some(last) if ran_for < SETTLED => (last * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_in_dockers_words() {
        assert_eq!(RestartPolicy::new("", 0), Ok(RestartPolicy::No));
        assert_eq!(RestartPolicy::new("on-failure", 3), Ok(RestartPolicy::OnFailure { retries: 3 }));
        assert_eq!(RestartPolicy::new("always", 3), Err(InvalidRestartPolicy::RetriesWithout));
        assert_eq!(RestartPolicy::new("on-failure", -1), Err(InvalidRestartPolicy::Negative));
        assert!(RestartPolicy::new("sometimes", 0).unwrap_err().to_string().contains("unknown policy 'sometimes'"));
    }

    #[test]
    fn who_is_started_again() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        assert!(!No.restarts(1, false, 0));
        assert!(Always.restarts(0, false, 9) && !Always.restarts(0, true, 0));
        assert!(Always.restarts_with_daemon(0, true, 0) && !UnlessStopped.restarts_with_daemon(0, true, 0));
        assert!(!OnFailure { retries: 0 }.restarts(0, false, 0) && OnFailure { retries: 0 }.restarts(1, false, 1000));
        assert!(OnFailure { retries: 2 }.restarts(1, false, 1) && !OnFailure { retries: 2 }.restarts(1, false, 2));
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut backoff = Backoff::default();
        let quick = Duration::from_millis(5);
        let pauses: Vec<u128> = (0..12).map(|_| backoff.next(quick).as_millis()).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 60_000);
        assert_eq!(backoff.next(SETTLED).as_millis(), 100);
    }
}
