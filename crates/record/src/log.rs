//! A container's output on disk, in the form of Docker's `json-file` driver:
//! one JSON object a line, with the text, its stream and the time.
//!
//! A container cannot fill the host's disk with its output: a log is files of a
//! bounded size, and of those a bounded number ([`Retention`]).
//!
//! What is read of a container at once has one time and is written at once:
//! short lines become some thirty times as long here, and a container that
//! floods its output must not cost a system call for each of them.

mod files;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

pub use files::{newer_than, open_all};
use serde::{Deserialize, Serialize};

use crate::file::VERSION;

/// How much of a container's output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes. An entry that is longer has a file of its own.
    pub file_size: u64,
    /// Nothing is kept if 0.
    pub files: u32,
}

impl Default for Retention {
    /// As Docker's `local` driver has it.
    fn default() -> Self {
        Self { file_size: 20 << 20, files: 5 }
    }
}

/// What each entry carries: chosen by the engine when the container is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributesRecord {
    version: u32,
    pub attributes: BTreeMap<String, String>,
}

impl AttributesRecord {
    pub fn new(attributes: BTreeMap<String, String>) -> Self {
        Self { version: VERSION, attributes }
    }
}

/// Text without a line's end is written out at this length, as in Docker.
const MAX_LINE: usize = 16 << 10;

/// Entries are written out when there is this much of them: large enough that
/// the system call does not count, small enough to stay in the processor's cache.
const WRITE_SIZE: usize = 128 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// What the user wants to have with each line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
    pub time: String,
}

impl Entry {
    /// Reads a line of a log.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// Appends one stream's bytes; two streams of a container share a [`LogFile`].
#[derive(Debug)]
pub struct LineBuffer {
    stream: &'static str,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
}

#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    retention: Retention,
    /// The member of each entry that has its attributes, if there are any.
    attrs: String,
    file: File,
    /// Held while files are renamed.
    lock: File,
    length: u64,
    /// Entries that are not in the file yet; empty between calls.
    pending: Vec<u8>,
}

impl LogFile {
    /// Each entry gets these attributes.
    pub fn open(path: PathBuf, retention: Retention, attributes: &BTreeMap<String, String>) -> io::Result<Self> {
        let attrs = match attributes.is_empty() {
            true => String::new(),
            false => format!("\"attrs\":{},", serde_json::to_string(attributes)?),
        };
        let lock = files::open_lock(&path)?;
        let file = files::append(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { path, retention, attrs, file, lock, length, pending: Vec::new() })
    }

    /// Adds an [`Entry`] of this text; `rest` is all that comes after it, which
    /// is the same for all that was read at once.
    fn add(&mut self, text: &str, rest: &str) -> io::Result<()> {
        let start = self.pending.len();
        self.pending.extend_from_slice(b"{\"log\":");
        serde_json::to_writer(&mut self.pending, text)?;
        self.pending.extend_from_slice(rest.as_bytes());
        if self.length + self.pending.len() as u64 > self.retention.file_size {
            let first_of_next = self.pending.split_off(start);
            self.write_pending()?;
            self.rotate()?;
            self.pending = first_of_next;
        } else if self.pending.len() >= WRITE_SIZE {
            self.write_pending()?;
        }
        Ok(())
    }

    /// What cannot be written is lost as a whole: half an entry would spoil the
    /// next one too.
    fn write_pending(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.pending);
        match written {
            Ok(()) => self.length += self.pending.len() as u64,
            // If not even that can be done, the reader leaves one line out.
            Err(_) => drop(self.file.set_len(self.length)),
        }
        self.pending.clear();
        written
    }

    /// Begins the next file.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = files::rotate(&self.path, &self.lock, self.retention.files as usize)?;
        self.length = 0;
        Ok(())
    }
}

impl LineBuffer {
    pub fn new(stream: &'static str) -> Self {
        Self { stream, line: Vec::new() }
    }

    /// Logs the lines that end in these bytes; the rest waits for its end.
    pub fn append(&mut self, bytes: &[u8], log: &mut LogFile) -> io::Result<()> {
        let rest = self.rest(log);
        let added = self.add_lines(bytes, &rest, log);
        added.and(log.write_pending())
    }

    /// Logs what is there, with or without a line's end.
    pub fn flush(&mut self, log: &mut LogFile) -> io::Result<()> {
        let added = if self.line.is_empty() { Ok(()) } else { self.add_line(&self.rest(log), log) };
        added.and(log.write_pending())
    }

    /// What follows the text in each entry.
    fn rest(&self, log: &LogFile) -> String {
        format!(",\"stream\":\"{}\",{}\"time\":\"{}\"}}\n", self.stream, log.attrs, jiff::Timestamp::now())
    }

    fn add_lines(&mut self, mut bytes: &[u8], rest_of_entry: &str, log: &mut LogFile) -> io::Result<()> {
        let mut result = Ok(());
        while !bytes.is_empty() {
            let room = MAX_LINE - self.line.len();
            let newline = bytes.iter().position(|b| *b == b'\n').map(|at| at + 1);
            let length = newline.unwrap_or(bytes.len()).min(room);
            let (head, rest) = bytes.split_at(length);
            bytes = rest;
            self.line.extend_from_slice(head);
            if head.ends_with(b"\n") || self.line.len() == MAX_LINE {
                // What follows may fit again: a disk has room when somebody deletes.
                result = result.and(self.add_line(rest_of_entry, log));
            }
        }
        result
    }

    fn add_line(&mut self, rest_of_entry: &str, log: &mut LogFile) -> io::Result<()> {
        // A character that the length cut in two goes to the next line whole.
        let keep = if self.line.len() == MAX_LINE { incomplete_tail(&self.line) } else { 0 };
        let end = self.line.len() - keep;
        let text = String::from_utf8_lossy(&self.line[..end]);
        let added = log.add(&text, rest_of_entry);
        self.line.drain(..end);
        added
    }
}

/// How many bytes at the end are the beginning of a character of UTF-8.
fn incomplete_tail(bytes: &[u8]) -> usize {
    match std::str::from_utf8(&bytes[bytes.len().saturating_sub(4)..]) {
        Err(error) if error.error_len().is_none() => bytes.len().min(4) - error.valid_up_to(),
        _ => {
            // The window may begin inside a character: look from each place.
            let tail = |n: usize| {
                bytes.len() >= n
                    && std::str::from_utf8(&bytes[bytes.len() - n..])
                        .is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
            };
            (1..4).rev().find(|n| tail(*n)).unwrap_or(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use proptest::prelude::*;

    /// A log in a directory of its own.
    fn fresh_log(retention: Retention) -> (tempfile::TempDir, PathBuf, LogFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = LogFile::open(path.clone(), retention, &BTreeMap::new()).unwrap();
        (dir, path, log)
    }

    fn entries_in(file: &File) -> Vec<Entry> {
        let text = io::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn entries(path: &Path) -> Vec<Entry> {
        open_all(path).unwrap().iter().flat_map(entries_in).collect()
    }

    /// Of its files, oldest first.
    fn lengths(path: &Path) -> Vec<u64> {
        open_all(path).unwrap().iter().map(|file| file.metadata().unwrap().len()).collect()
    }

    proptest! {
        /// However a text is cut into pieces, the log has it whole.
        #[test]
        fn text_comes_back(text in "[a-zä€😀\n]{0,2000}", times in 1usize..30, piece in 1usize..5000) {
            let text = text.repeat(times);
            let (_dir, path, mut log) = fresh_log(Retention::default());
            let mut buffer = LineBuffer::new("stdout");
            for piece in text.as_bytes().chunks(piece) {
                buffer.append(piece, &mut log).unwrap();
            }
            buffer.flush(&mut log).unwrap();
            let entries = entries(&path);
            prop_assert_eq!(entries.iter().map(|e| e.log.as_str()).collect::<String>(), text);
            prop_assert!(entries.iter().all(|e| e.stream == "stdout" && e.log.len() <= MAX_LINE));
        }
    }

    #[test]
    fn a_flood_keeps_its_end_only() {
        for files_kept in [1, 2, 5] {
            let retention = Retention { file_size: 1 << 20, files: files_kept };
            let (_dir, path, mut log) = fresh_log(retention);
            let mut buffer = LineBuffer::new("stderr");
            let line = "y".repeat(MAX_LINE - 1) + "\n";
            let lines = (retention.file_size * u64::from(files_kept + 2)) as usize / line.len();
            for _ in 0..lines {
                buffer.append(line.as_bytes(), &mut log).unwrap();
            }
            buffer.append(b"the end\n", &mut log).unwrap();
            let lengths = lengths(&path);
            assert_eq!(lengths.len(), files_kept as usize);
            assert!(lengths.into_iter().all(|length| length <= retention.file_size));
            assert_eq!(entries(&path).last().unwrap().log, "the end\n");
        }
    }

    /// However much comes at once, no file is over its limit, none that is full
    /// had room for its next entry, and nothing is missing in between.
    #[test]
    fn short_lines_fill_each_file_to_its_limit() {
        let retention = Retention { file_size: 4 << 20, files: 5 };
        let (_dir, path, mut log) = fresh_log(retention);
        let (mut out, mut err) = (LineBuffer::new("stdout"), LineBuffer::new("stderr"));
        let mut next = 0;
        while lengths(&path).len() < 4 {
            let chunk: String = (next..next + 5000).map(|number| format!("{number}\n")).collect();
            let buffer = if next % 2 == 0 { &mut out } else { &mut err };
            buffer.append(chunk.as_bytes(), &mut log).unwrap();
            next += 5000;
        }
        let lengths = lengths(&path);
        let longest_entry = 100;
        let (last, full) = lengths.split_last().unwrap();
        assert!(
            full.iter().all(|length| (retention.file_size - longest_entry..=retention.file_size).contains(length)),
            "{lengths:?}"
        );
        assert!(*last <= retention.file_size, "{lengths:?}");
        for (number, entry) in entries(&path).iter().enumerate() {
            assert_eq!(entry.log, format!("{number}\n"));
        }
        assert_eq!(entries(&path).len(), next);
    }

    /// A disk that is full for a while costs what came meanwhile, and no more.
    #[test]
    fn what_cannot_be_written_does_not_spoil_what_follows() {
        let (_dir, path, mut log) = fresh_log(Retention::default());
        let mut buffer = LineBuffer::new("stdout");
        buffer.append(b"before\nbegun ", &mut log).unwrap();
        let good = std::mem::replace(&mut log.file, File::open(&path).unwrap());
        assert!(buffer.append(b"and lost\nalso lost\nbegun again ", &mut log).is_err());
        log.file = good;
        buffer.append(b"and kept\n", &mut log).unwrap();
        let texts: Vec<String> = entries(&path).into_iter().map(|entry| entry.log).collect();
        assert_eq!(texts, ["before\n", "begun again and kept\n"]);
    }

    /// However a writer renames meanwhile: what was there is there, once and in
    /// its order, and what is open goes on with what came after it.
    #[test]
    fn readers_meet_each_file_once_while_the_writer_renames_them() {
        let files_kept = 4;
        let (_dir, path, mut log) = fresh_log(Retention { file_size: 1000, files: files_kept });
        let written = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = LineBuffer::new("stdout");
                for number in 0..40_000 {
                    buffer.append(format!("{number}\n").as_bytes(), &mut log).unwrap();
                    written.store(number + 1, Ordering::SeqCst);
                }
            });
            let numbers = |file: &File| -> Vec<usize> {
                let is_whole = |line: &&str| line.ends_with('\n');
                let text = io::read_to_string(file).unwrap();
                let lines = text.split_inclusive('\n').filter(is_whole);
                lines.map(|line| Entry::parse(line.as_bytes()).unwrap().log.trim().parse().unwrap()).collect()
            };
            let in_sequence = |numbers: &[usize]| numbers.windows(2).all(|two| two[1] == two[0] + 1);
            let mut followed = 0;
            while written.load(Ordering::SeqCst) < 40_000 {
                let before = written.load(Ordering::SeqCst);
                let files = open_all(&path).unwrap();
                let each: Vec<Vec<usize>> = files.iter().map(&numbers).collect();
                let read = each.concat();
                assert!(in_sequence(&read), "{read:?}");
                assert!(files.len() == files_kept as usize || before < 100, "{} files after {before}", files.len());
                assert!(read.last().is_none_or(|last| last + 1 >= before), "{before}: {read:?}");
                // As one that has read slowly goes on.
                let (Some(second), Some(of_second)) = (files.get(1), each.get(1)) else { continue };
                let is_full = files.len() > 2;
                let newer = newer_than(&path, second).unwrap();
                let is_kept = second.metadata().unwrap().nlink() > 0;
                let newer: Vec<usize> = newer.iter().flat_map(&numbers).collect();
                assert!(in_sequence(&newer), "{newer:?}");
                if is_full && is_kept {
                    followed += 1;
                    assert!(in_sequence(&[&of_second[..], &newer[..]].concat()), "{of_second:?} and then {newer:?}");
                }
            }
            assert!(followed > 0, "none was followed");
        });
    }

    /// One that was killed between two of its renames hides nothing, neither from
    /// readers nor from the next.
    #[test]
    fn a_number_that_is_missing_hides_no_older_file() {
        let (_dir, path, mut log) = fresh_log(Retention { file_size: 1, files: 3 });
        let mut buffer = LineBuffer::new("stdout");
        for line in ["one\n", "two\n", "three\n"] {
            buffer.append(line.as_bytes(), &mut log).unwrap();
        }
        let texts = || entries(&path).into_iter().map(|entry| entry.log).collect::<Vec<_>>();
        assert_eq!(texts(), ["one\n", "two\n", "three\n"]);
        fs::rename(path.with_extension("1"), path.with_extension("3")).unwrap();
        fs::rename(path.with_extension("2"), path.with_extension("4")).unwrap();
        assert_eq!(texts(), ["one\n", "two\n", "three\n"]);
        buffer.append(b"four\n", &mut log).unwrap();
        assert_eq!(texts(), ["two\n", "three\n", "four\n"]);
    }
}
