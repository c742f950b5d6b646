//! What a child that could not become the container's command tells its
//! parent: one short record through a pipe that closes when it did become it.
//!
//! ```text
//!   u8 step | u8 zero | u16 length | i32 errno | length bytes: what it was about
//! ```

use rustix::io::Errno;

use crate::error::{LaunchError, SetupStep};

/// Room for the longest path the kernel takes and some.
pub(crate) const LONGEST: usize = HEADER + 5000;
const HEADER: usize = 8;

/// One step that failed in the child.
#[derive(Debug)]
pub(crate) struct StepError {
    pub(crate) step: SetupStep,
    pub(crate) subject: String,
    pub(crate) errno: Errno,
}

pub(crate) type StepResult<T> = Result<T, StepError>;

/// Names the step of a failed kernel call.
pub(crate) trait AtStep<T> {
    fn at(self, step: SetupStep, subject: &str) -> StepResult<T>;
}

impl<T> AtStep<T> for Result<T, Errno> {
    fn at(self, step: SetupStep, subject: &str) -> StepResult<T> {
        self.map_err(|errno| StepError { step, subject: subject.to_owned(), errno })
    }
}

impl StepError {
    pub(crate) fn new(step: SetupStep, subject: impl Into<String>, errno: Errno) -> Self {
        Self { step, subject: subject.into(), errno }
    }

    pub(crate) fn to_record(&self) -> Vec<u8> {
        let subject = &self.subject.as_bytes()[..self.subject.len().min(LONGEST - HEADER)];
        let mut record = vec![self.step as u8, 0];
        // Cannot be cut: LONGEST is below 64 KiB.
        record.extend_from_slice(&(subject.len() as u16).to_ne_bytes());
        record.extend_from_slice(&self.errno.raw_os_error().to_ne_bytes());
        record.extend_from_slice(subject);
        record
    }

    /// `None` for bytes that no child of ours wrote.
    pub(crate) fn from_record(record: &[u8]) -> Option<Self> {
        let (header, subject) = record.split_at_checked(HEADER)?;
        let step = SetupStep::from_number(header[0])?;
        let length = u16::from_ne_bytes([header[2], header[3]]);
        let errno = i32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        if header[1] != 0 || subject.len() != usize::from(length) || !(1..4096).contains(&errno) {
            return None;
        }
        let subject = String::from_utf8_lossy(subject).into_owned();
        Some(Self { step, subject, errno: Errno::from_raw_os_error(errno) })
    }
}

/// What the bytes from a child say.
pub(crate) fn read(record: &[u8]) -> LaunchError {
    match StepError::from_record(record) {
        Some(error) => LaunchError::from(error),
        None => LaunchError::GarbledReport { length: record.len() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_others_are_refused() {
        let error = StepError::new(SetupStep::Execute, "/bin/é", Errno::NOEXEC);
        let record = error.to_record();
        let back = StepError::from_record(&record).unwrap();
        assert_eq!((back.step, back.subject.as_str(), back.errno), (SetupStep::Execute, "/bin/é", Errno::NOEXEC));
        for cut in 0..record.len() {
            assert!(StepError::from_record(&record[..cut]).is_none(), "{cut}");
        }
        let mut unknown = record.clone();
        unknown[0] = 255;
        assert!(StepError::from_record(&unknown).is_none());
        let long = StepError::new(SetupStep::Execute, "x".repeat(70_000), Errno::NOENT).to_record();
        assert_eq!(long.len(), LONGEST);
        assert!(StepError::from_record(&long).is_some());
    }
}
