//! The `nft` program, which carries out a script as one transaction.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, thiserror::Error)]
pub enum NftError {
    #[error("{program:?} cannot be run; the package nftables has it")]
    Run { program: OsString, source: io::Error },
    #[error("nft: {0}")]
    Refused(String),
}

/// Clones share what is known of each other's transactions.
#[derive(Clone, Debug)]
pub struct Nft {
    program: OsString,
    transactions: Transactions,
}

/// How many were ours. The kernel tells whoever watches of each, but not whose it
/// was: its process ids may be those of another namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Transactions(Arc<AtomicU64>);

impl Transactions {
    pub(super) fn ours(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Default for Nft {
    fn default() -> Self {
        Self::new("nft")
    }
}

impl Nft {
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), transactions: Transactions::default() }
    }

    pub(super) fn transactions(&self) -> Transactions {
        self.transactions.clone()
    }

    /// Whole, or not at all. It has to change something of the tables.
    pub(super) fn run(&self, script: &str) -> Result<(), NftError> {
        // Before it happens: it is not to be taken for another's.
        let ours = &self.transactions.0;
        ours.fetch_add(1, Ordering::AcqRel);
        let carried_out = self.carry_out(script);
        if carried_out.is_err() {
            ours.fetch_sub(1, Ordering::AcqRel);
        }
        carried_out
    }

    fn carry_out(&self, script: &str) -> Result<(), NftError> {
        let failed = |source| NftError::Run { program: self.program.clone(), source };
        let mut command = Command::new(&self.program);
        command.args(["-f", "-"]).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let mut stdin = child.stdin.take().expect("a pipe");
        let written = stdin.write_all(script.as_bytes());
        drop(stdin);
        let ended = child.wait_with_output().map_err(failed)?;
        match ended.status.success() {
            // What it did not read it has not done.
            true => written.map_err(failed),
            false => Err(NftError::Refused(reason(&ended.stderr))),
        }
    }
}

/// The first of its errors, which come with the line that they are about.
fn reason(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or("it ended without a word").to_owned();
    match lines.next() {
        Some(line) => format!("{first}: {}", line.trim()),
        None => first,
    }
}
