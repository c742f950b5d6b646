//! A container's output on disk, in the form of Docker's `json-file` driver:
//! one JSON object a line, with the text, its stream and the time.
//!
//! A container cannot fill the host's disk with its output: as with Docker's
//! `local` driver the last 100 MB are kept, in five files of 20 MB
//! (`NAME`, `NAME.1` … `NAME.4`, newest first).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const MAX_FILE: u64 = 20 << 20;
const MAX_FILES: u32 = 5;

/// Text without a line's end is written out at this length, as in Docker.
const MAX_LINE: usize = 16 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
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
    line: Vec<u8>,
}

#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl LogFile {
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { path, file, length })
    }

    fn write(&mut self, stream: &str, text: &[u8]) -> io::Result<()> {
        let entry = Entry {
            log: String::from_utf8_lossy(text).into_owned(),
            stream: stream.to_owned(),
            time: jiff::Timestamp::now().to_string(),
        };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        if self.length + line.len() as u64 > MAX_FILE {
            self.rotate()?;
        }
        self.file.write_all(&line)?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for n in (1..MAX_FILES).rev() {
            let older = rotated(&self.path, n);
            let newer = if n == 1 { self.path.clone() } else { rotated(&self.path, n - 1) };
            match fs::rename(newer, older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = append(&self.path)?;
        self.length = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn rotated(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// The files of a log that exist, oldest first.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let rotated = (1..MAX_FILES).rev().map(|n| rotated(path, n));
    rotated.chain([path.to_owned()]).filter(|path| path.exists()).collect()
}

impl LineBuffer {
    pub fn new(stream: &'static str) -> Self {
        Self { stream, line: Vec::new() }
    }

    pub fn append(&mut self, mut bytes: &[u8], log: &mut LogFile) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.line.len();
            let newline = bytes.iter().position(|b| *b == b'\n').map(|at| at + 1);
            let length = newline.unwrap_or(bytes.len()).min(room);
            let (head, rest) = bytes.split_at(length);
            bytes = rest;
            self.line.extend_from_slice(head);
            if head.ends_with(b"\n") || self.line.len() == MAX_LINE {
                self.flush(log)?;
            }
        }
        Ok(())
    }

    /// Writes what is there, with or without a line's end.
    pub fn flush(&mut self, log: &mut LogFile) -> io::Result<()> {
        if self.line.is_empty() {
            return Ok(());
        }
        // A character that the length cut in two goes to the next line whole.
        let keep = if self.line.len() == MAX_LINE { incomplete_tail(&self.line) } else { 0 };
        let end = self.line.len() - keep;
        log.write(self.stream, &self.line[..end])?;
        self.line.drain(..end);
        Ok(())
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
    use super::*;
    use proptest::prelude::*;

    fn entries(path: &Path) -> Vec<Entry> {
        files(path)
            .iter()
            .flat_map(|file| {
                let text = fs::read_to_string(file).unwrap();
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
            })
            .collect()
    }

    proptest! {
        /// However a text is cut into pieces, the log has it whole.
        #[test]
        fn text_comes_back(text in "[a-zä€😀\n]{0,2000}", times in 1usize..30, piece in 1usize..5000) {
            let text = text.repeat(times);
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let mut log = LogFile::open(path.clone()).unwrap();
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
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(path.clone()).unwrap();
        let mut buffer = LineBuffer::new("stderr");
        let line = "y".repeat(MAX_LINE - 1) + "\n";
        let lines = (MAX_FILE * u64::from(MAX_FILES + 2)) as usize / line.len();
        for _ in 0..lines {
            buffer.append(line.as_bytes(), &mut log).unwrap();
        }
        buffer.append(b"the end\n", &mut log).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MAX_FILES as usize);
        let total: u64 = files(&path).iter().map(|f| fs::metadata(f).unwrap().len()).sum();
        assert!(total <= MAX_FILE * u64::from(MAX_FILES));
        assert_eq!(entries(&path).last().unwrap().log, "the end\n");
    }
}
