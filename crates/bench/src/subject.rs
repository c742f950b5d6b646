//! What is timed, and how: one process from its start to a moment that can be
//! seen from outside, several of them in turn.

use std::fs::File;
use std::io::{IsTerminal, Read, Seek};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{BenchError, file};
use crate::interrupt::Interrupt;
use crate::series::Series;

/// Which moments of a subject count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The process has ended.
    Exit,
    /// Its first byte of output came out, and it has ended.
    FirstByteAndExit,
}

/// From the start of the process, in the order of the subject's
/// [`labels`](Subject::labels).
pub(crate) type Times = Vec<Duration>;

/// Something that can be timed again and again.
pub(crate) struct Subject<'a> {
    /// One for each moment that is taken.
    pub(crate) labels: Vec<String>,
    pub(crate) take: Box<dyn FnMut() -> Result<Times, BenchError> + 'a>,
}

/// How often and how.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    pub(crate) count: usize,
    /// Before each start.
    pub(crate) pause: Duration,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) progress: bool,
}

impl Rounds<'_> {
    /// Runs the subjects in turn, one round to warm up first.
    pub(crate) fn interleave(&self, title: &str, subjects: &mut [Subject<'_>]) -> Result<Vec<Series>, BenchError> {
        let mut series: Vec<Vec<Series>> =
            subjects.iter().map(|subject| subject.labels.iter().cloned().map(Series::new).collect()).collect();
        for round in 0..=self.count {
            self.show(title, round);
            for (subject, series) in subjects.iter_mut().zip(&mut series) {
                let times = self.once(subject)?;
                if round > 0 {
                    series.iter_mut().zip(times).for_each(|(series, time)| series.push(time));
                }
            }
        }
        Ok(series.into_iter().flatten().collect())
    }

    /// One start, after the pause.
    pub(crate) fn once(&self, subject: &mut Subject<'_>) -> Result<Times, BenchError> {
        self.interrupt.check()?;
        std::thread::sleep(self.pause);
        // Ctrl-C at a terminal reaches the subject too, which then fails.
        (subject.take)().map_err(|error| self.interrupt.check().err().unwrap_or(error))
    }

    fn show(&self, title: &str, round: usize) {
        if self.progress && std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{title}: round {round} of {}", self.count);
            if round == self.count {
                eprint!("\r\x1b[K");
            }
        }
    }
}

/// Times one run of `command`, which must succeed and print `expected`.
pub(crate) fn time(command: &mut Command, moment: Moment, expected: &'static str) -> Result<Times, BenchError> {
    let mut errors = tempfile::tempfile().map_err(file("make", "a temporary file"))?;
    let stderr = errors.try_clone().map_err(file("open", "a temporary file"))?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let start = Instant::now();
    let mut child = command.spawn().map_err(|source| BenchError::Spawn { program: name(command), source })?;
    let (first, output) = read_output(&mut child).map_err(file("read", "the command's output"))?;
    let status = child.wait().map_err(file("wait for", name(command)))?;
    let exit = start.elapsed();
    if !status.success() {
        let message = format!("{status}: {}", said(&mut errors));
        return Err(BenchError::Failed { command: line(command), message });
    }
    if output != expected.as_bytes() {
        let found = String::from_utf8_lossy(&output).into_owned();
        return Err(BenchError::Output { command: line(command), found, expected });
    }
    Ok(match (moment, first) {
        (Moment::FirstByteAndExit, Some(first)) => vec![first.duration_since(start), exit],
        _ => vec![exit],
    })
}

/// All of it, and when its first byte came.
fn read_output(child: &mut Child) -> std::io::Result<(Option<Instant>, Vec<u8>)> {
    let mut output = Vec::new();
    let Some(stdout) = &mut child.stdout else { return Ok((None, output)) };
    let mut byte = [0];
    if stdout.read(&mut byte)? == 0 {
        return Ok((None, output));
    }
    let first = Instant::now();
    output.push(byte[0]);
    stdout.read_to_end(&mut output)?;
    Ok((Some(first), output))
}

/// Runs `command` to its end, untimed, and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, BenchError> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|source| BenchError::Spawn { program: name(command), source })?;
    if !output.status.success() {
        let message = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
        return Err(BenchError::Failed { command: line(command), message });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a program wrote into this file.
pub(crate) fn said(errors: &mut File) -> String {
    let mut text = Vec::new();
    match errors.rewind().and_then(|()| errors.read_to_end(&mut text)) {
        Ok(_) => String::from_utf8_lossy(&text).trim_end().to_owned(),
        Err(error) => error.to_string(),
    }
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
