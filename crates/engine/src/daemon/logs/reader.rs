//! A log's files, read a step at a time.
//!
//! ```text
//!   counting (the last so many are wanted) ──▶ reading ──▶ at the end ⇄ reading
//! ```
//!
//! All files that will be needed are open from the beginning, so that it does not
//! matter if they are renamed or removed: what was in the log when it was asked
//! for is read. One that follows finds what came later by the file it stands in.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use casemate_record::log::{self, Entry as LogEntry};
use jiff::Timestamp;

use super::{LogItem, LogRequest};

/// Bytes of a log that are read in a step: enough that going to a thread for it
/// does not count, little enough to be kept for a client that does not read.
const STEP: usize = 32 << 10;

#[derive(Debug)]
pub(super) struct Reader {
    log: PathBuf,
    request: LogRequest,
    /// Not counted yet, oldest first.
    uncounted: Vec<BufReader<File>>,
    counted: usize,
    /// To be read, oldest first. The last stays when it has been: it is where the
    /// log goes on.
    files: VecDeque<BufReader<File>>,
    /// Of what is wanted, what is to be left out yet.
    skip: usize,
    /// Of what is wanted, what is to be given yet.
    left: usize,
}

/// What a step has found.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) items: Vec<LogItem>,
    /// There is no more at present.
    pub(super) is_at_end: bool,
}

impl Reader {
    /// Of what the log has now, and if it is followed of what comes.
    pub(super) fn open(log: PathBuf, request: LogRequest) -> io::Result<Self> {
        let files: Vec<_> = log::open_all(&log)?.into_iter().map(BufReader::new).collect();
        let (uncounted, files) = match request.tail {
            Some(_) => (files, VecDeque::new()),
            None => (Vec::new(), files.into()),
        };
        let left = request.tail.filter(|_| !request.follow).unwrap_or(usize::MAX);
        Ok(Self { log, request, uncounted, counted: 0, files, skip: 0, left })
    }

    pub(super) fn step(&mut self) -> io::Result<Step> {
        let mut items = Vec::new();
        let mut budget = STEP;
        self.count(&mut budget)?;
        let is_at_end = budget > 0 && self.read(&mut budget, &mut items)?;
        Ok(Step { items, is_at_end })
    }

    /// From the newest file on back, as far as what is wanted reaches.
    fn count(&mut self, budget: &mut usize) -> io::Result<()> {
        let tail = self.request.tail.unwrap_or(0);
        while let Some(file) = self.uncounted.last_mut() {
            while let Some(entry) = next_entry(file, budget)? {
                self.counted += usize::from(wants(&self.request, &entry));
            }
            if *budget == 0 {
                return Ok(());
            }
            file.rewind()?;
            self.files.extend(self.uncounted.pop());
            self.files.rotate_right(1);
            if self.counted >= tail {
                self.uncounted.clear();
            }
            self.skip = self.counted.saturating_sub(tail);
        }
        Ok(())
    }

    /// True at the end of the log.
    fn read(&mut self, budget: &mut usize, items: &mut Vec<LogItem>) -> io::Result<bool> {
        loop {
            while let Some(file) = self.files.front_mut() {
                while self.left > 0
                    && let Some(entry) = next_entry(file, budget)?
                {
                    if !wants(&self.request, &entry) {
                    } else if self.skip > 0 {
                        self.skip -= 1;
                    } else {
                        self.left -= 1;
                        items.push(item(entry));
                    }
                }
                if *budget == 0 {
                    return Ok(false);
                }
                if self.files.len() == 1 {
                    break;
                }
                self.files.pop_front();
            }
            if !self.request.follow {
                return Ok(true);
            }
            let newer = match self.files.front() {
                Some(file) => log::newer_than(&self.log, file.get_ref())?,
                None => log::open_all(&self.log)?,
            };
            if newer.is_empty() {
                return Ok(true);
            }
            // Whatever was written to the one before them is in it now.
            self.files.extend(newer.into_iter().map(BufReader::new));
        }
    }
}

fn wants(request: &LogRequest, entry: &LogEntry) -> bool {
    let LogRequest { stdout, stderr, since, until, .. } = request;
    let stream = if entry.stream == "stderr" { *stderr } else { *stdout };
    if !stream || (since.is_none() && until.is_none()) {
        return stream;
    }
    let Ok(time) = entry.time.parse::<Timestamp>() else {
        return true;
    };
    since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until)
}

fn item(entry: LogEntry) -> LogItem {
    let LogEntry { log, stream, attrs, time } = entry;
    LogItem { text: log.into_bytes(), stderr: stream == "stderr", attrs, time }
}

/// The next whole entry from where the reader stands, as long as the budget of
/// bytes lasts; a damaged line does not hide the others.
fn next_entry(reader: &mut BufReader<File>, budget: &mut usize) -> io::Result<Option<LogEntry>> {
    let mut line = Vec::new();
    while *budget > 0 {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            // Half written: read again from its beginning next time.
            reader.seek(SeekFrom::Current(-(length as i64)))?;
            return Ok(None);
        }
        *budget = budget.saturating_sub(length);
        if let Some(entry) = LogEntry::parse(&line) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use casemate_record::log::{LineBuffer, LogFile, Retention};

    use super::*;

    const SMALL: Retention = Retention { file_size: 10_000, files: 3 };

    struct Writer(LineBuffer, LogFile);

    impl Writer {
        fn new(dir: &Path, retention: Retention) -> Self {
            let log = LogFile::open(dir.join("log"), retention, &BTreeMap::new()).unwrap();
            Self(LineBuffer::new("stdout"), log)
        }

        fn write(&mut self, numbers: std::ops::Range<usize>) {
            for number in numbers {
                self.0.append(format!("{number}\n").as_bytes(), &mut self.1).unwrap();
            }
        }
    }

    fn reader(dir: &Path, tail: Option<usize>, follow: bool) -> Reader {
        let request = LogRequest { stdout: true, stderr: true, follow, tail, ..LogRequest::default() };
        Reader::open(dir.join("log"), request).unwrap()
    }

    fn numbers(step: &Step) -> impl Iterator<Item = usize> {
        step.items.iter().map(|item| std::str::from_utf8(&item.text).unwrap().trim().parse().unwrap())
    }

    /// As far as there is something at present.
    fn rest(reader: &mut Reader) -> Vec<usize> {
        let mut read = Vec::new();
        loop {
            let step = reader.step().unwrap();
            read.extend(numbers(&step));
            if step.is_at_end {
                return read;
            }
        }
    }

    /// What was there when it was asked for is there, though none of its files has
    /// a name any more.
    #[test]
    fn what_was_there_is_read_though_it_is_no_longer_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path(), SMALL);
        writer.write(0..250);
        let mut all = reader(dir.path(), None, false);
        let mut tail = reader(dir.path(), Some(200), false);
        writer.write(250..2000);
        let read = rest(&mut all);
        // And what came to the newest of its files while that had room.
        assert!(read.len() >= 250 && read == (0..read.len()).collect::<Vec<_>>(), "{read:?}");
        assert_eq!(rest(&mut tail), (read.len() - 200..read.len()).collect::<Vec<_>>());
    }

    /// A follower stands in one file; the log has begun two others since.
    #[test]
    fn a_follower_that_lags_leaves_no_file_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path(), Retention { files: 5, ..SMALL });
        writer.write(0..10);
        let mut follower = reader(dir.path(), Some(5), true);
        assert_eq!(rest(&mut follower), (5..10).collect::<Vec<_>>());
        writer.write(10..400);
        assert!(dir.path().join("log.2").exists());
        assert_eq!(rest(&mut follower), (10..400).collect::<Vec<_>>());
        writer.write(400..401);
        assert_eq!(rest(&mut follower), [400]);
    }

    /// Of every reader beside a writer whose files change all the time: no line is
    /// left out or told twice, and the last so many are as many.
    #[test]
    fn readers_beside_a_chatty_writer_lose_nothing() {
        const TOTAL: usize = 60_000;
        let in_sequence = |numbers: &[usize]| numbers.windows(2).all(|two| two[1] == two[0] + 1);
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path(), SMALL);
        writer.write(0..300);
        let written = AtomicUsize::new(300);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 300..TOTAL {
                    writer.write(number..number + 1);
                    written.store(number + 1, Ordering::SeqCst);
                }
            });
            while written.load(Ordering::SeqCst) < TOTAL {
                let before = written.load(Ordering::SeqCst);
                // Fewer than two files hold, which is what a full log has at least.
                let tail = rest(&mut reader(dir.path(), Some(100), false));
                assert!(tail.len() == 100 && in_sequence(&tail), "{tail:?}");
                assert!(tail[99] + 1 >= before, "{before}: {tail:?}");
                let all = rest(&mut reader(dir.path(), None, false));
                assert!(all.len() >= 200 && in_sequence(&all), "{all:?}");
                assert!(all[all.len() - 1] + 1 >= before, "{before}: {all:?}");
            }
        });
        let mut follower = reader(dir.path(), Some(0), true);
        assert!(rest(&mut follower).is_empty());
        writer.write(TOTAL..TOTAL + 10);
        assert_eq!(rest(&mut follower), (TOTAL..TOTAL + 10).collect::<Vec<_>>());
    }

    /// Half an entry is none yet, and a spoilt one hides no other.
    #[test]
    fn entries_are_read_when_they_are_whole() {
        use std::io::Write;

        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(dir.path(), Retention::default());
        writer.write(0..1);
        let mut follower = reader(dir.path(), None, true);
        assert_eq!(rest(&mut follower), [0]);
        let mut file = File::options().append(true).open(dir.path().join("log")).unwrap();
        let entry = br#"{"log":"1\n","stream":"stdout","time":"2026-01-01T00:00:00Z"}"#;
        file.write_all(&entry[..20]).unwrap();
        assert!(rest(&mut follower).is_empty());
        file.write_all(&entry[20..]).unwrap();
        assert!(rest(&mut follower).is_empty());
        file.write_all(b"\nspoilt\n").unwrap();
        assert_eq!(rest(&mut follower), [1]);
        writer.write(2..3);
        assert_eq!(rest(&mut follower), [2]);
    }
}
