//! `casemate keeper`: the program of one container's keeper.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use casemate_keeper::Settings;
use casemate_record::Layout;
use casemate_record::log::Retention;
use tracing_subscriber::EnvFilter;

use crate::cli::KeeperArgs;

pub(crate) fn run(args: KeeperArgs) -> ExitCode {
    // A container that gets at /proc/PID/exe must not get at this program.
    let protected = casemate_launch::protect_program(std::env::args_os());
    // By which `ps` knows it; the name is lost in the step above. Without it the
    // command line still tells.
    let _ = rustix::thread::set_name(c"casemate-keeper");
    // Its own session: the user's terminal and its signals are not the keeper's.
    let session = rustix::process::setsid();
    let Ok(id) = args.id.parse() else {
        eprintln!("casemate keeper: started by the engine, not by hand");
        return ExitCode::from(125);
    };
    let paths = Layout::new(args.keeper_root, args.keeper_run).container(&id);
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(paths.keeper_log());
    if let Ok(log) = log {
        let filter = crate::log_filter().unwrap_or_else(|| EnvFilter::new("info"));
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Mutex::new(log)).init();
    }
    if let Err(error) = session {
        tracing::warn!(%error, "no session of its own");
    }
    if let Err(error) = protected {
        tracing::error!(error = casemate_model::chain(&error), "cannot protect the program");
        return ExitCode::from(125);
    }
    let (listener, lock) = match handed_over() {
        Ok(handed_over) => handed_over,
        Err(error) => {
            tracing::error!(%error, "the socket or the lock was not handed over");
            return ExitCode::from(125);
        }
    };
    let settings = Settings {
        id,
        name: args.name,
        paths,
        auto_remove: args.auto_remove,
        log: Retention { file_size: args.log_file_size, files: args.log_files },
        health_deadline: Duration::from_millis(args.health_deadline_ms),
        listener,
        lock,
    };
    match casemate_keeper::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "keeper failed");
            ExitCode::FAILURE
        }
    }
}

/// The engine hands the listening socket over as standard input and the lock as
/// standard output; in their place comes /dev/null.
fn handed_over() -> io::Result<(OwnedFd, OwnedFd)> {
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    let lock = io::stdout().as_fd().try_clone_to_owned()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok((listener, lock))
}
