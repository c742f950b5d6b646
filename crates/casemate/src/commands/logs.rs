//! `casemate logs`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use casemate_engine::{Container, Engine, EngineError, KeeperHandle};
use casemate_record::log::{self, Entry};
use casemate_supervisor::FdStream;
use rustix::fs::inotify;
use tokio::io::AsyncReadExt;

use crate::cli::LogsArgs;
use crate::report::CliError;

pub(crate) async fn run(engine: &Engine, args: &LogsArgs) -> Result<ExitCode, CliError> {
    let container = engine.find(&args.container)?;
    let tail = match args.tail.as_str() {
        "all" => None,
        // Docker takes a negative number for all.
        number => match number.parse::<i64>() {
            Ok(number) => usize::try_from(number).ok(),
            Err(_) => return Err(CliError::Tail(number.to_owned())),
        },
    };
    let mut keeper = match args.follow {
        false => None,
        true => match container.keeper().await {
            Ok(keeper) => Some(keeper),
            // Nothing comes any more.
            Err(EngineError::NotRunning { .. }) => None,
            Err(error) => return Err(error.into()),
        },
    };
    match show(&container, args, tail, &mut keeper).await {
        Err(CliError::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// As long as there is a keeper, more comes; it says goodbye when the log is
/// whole, and cannot go without this side's knowing.
async fn show(
    container: &Container,
    args: &LogsArgs,
    tail: Option<usize>,
    keeper: &mut Option<KeeperHandle>,
) -> Result<(), CliError> {
    let path = container.paths.log();
    let unreadable = |source| CliError::Read { what: path.display().to_string(), source };
    let mut watch = args.follow.then(|| Watch::new(&container.paths.dir)).transpose().map_err(unreadable)?;
    let files = log::files(&path);
    let mut entries = Vec::new();
    let mut current = None;
    for file in &files {
        let mut reader = BufReader::new(File::open(file).map_err(unreadable)?);
        read_entries(&mut reader, &mut entries).map_err(unreadable)?;
        current = Some(reader);
    }
    let first = tail.map_or(0, |tail| entries.len().saturating_sub(tail));
    print_entries(&entries[first..], args.timestamps)?;
    let Some(watch) = &mut watch else {
        return Ok(());
    };
    loop {
        let mut new = Vec::new();
        if let Some(reader) = &mut current {
            read_entries(reader, &mut new).map_err(unreadable)?;
        }
        // A rotated log goes on in a new file.
        let rotated = File::open(&path).ok().filter(|file| is_another(current.as_ref(), file));
        if let Some(file) = rotated {
            let mut reader = BufReader::new(file);
            read_entries(&mut reader, &mut new).map_err(unreadable)?;
            current = Some(reader);
        }
        print_entries(&new, args.timestamps)?;
        let Some(KeeperHandle { client }) = keeper else {
            return Ok(());
        };
        tokio::select! {
            changed = watch.changed() => changed.map_err(unreadable)?,
            // What it wrote last is still to be read.
            _ = client.lost() => *keeper = None,
        }
    }
}

fn is_another(current: Option<&BufReader<File>>, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |file: &File| file.metadata().map(|metadata| metadata.ino()).ok();
    current.is_none_or(|reader| inode(reader.get_ref()) != inode(file))
}

/// All whole lines from where the reader stands.
fn read_entries(reader: &mut BufReader<File>, entries: &mut Vec<Entry>) -> io::Result<()> {
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if !line.ends_with('\n') {
            // Half written: read again from its beginning next time.
            reader.seek_relative(-(line.len() as i64))?;
            return Ok(());
        }
        // A damaged line must not hide the others.
        if let Ok(entry) = serde_json::from_str(&line) {
            entries.push(entry);
        }
        line.clear();
    }
    Ok(())
}

fn print_entries(entries: &[Entry], timestamps: bool) -> Result<(), CliError> {
    let failed = |source| CliError::Write { what: "the output".into(), source };
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    for entry in entries {
        let to: &mut dyn Write = if entry.stream == "stderr" { &mut err } else { &mut out };
        if timestamps {
            write!(to, "{} ", entry.time).map_err(failed)?;
        }
        to.write_all(entry.log.as_bytes()).map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// Tells of changes in a container's directory: its log grows, its state is
/// replaced, it is removed.
struct Watch(FdStream);

impl Watch {
    fn new(dir: &Path) -> io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(fd.as_fd(), dir, events)?;
        Ok(Self(FdStream::new(fd)?))
    }

    async fn changed(&mut self) -> io::Result<()> {
        // What happened does not matter: everything is looked at again.
        self.0.read(&mut [0; 4096]).await.map(drop)
    }
}
