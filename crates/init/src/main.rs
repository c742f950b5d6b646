//! The first process of a container that was started with `--init`: it starts
//! the command, takes care of orphans, passes signals on, and ends as the
//! command does.
//!
//! ```text
//!   docker-init -- COMMAND [ARGUMENT...]
//!     └─ COMMAND, in a process group of its own, in the terminal's foreground
//! ```
//!
//! It stands in for Docker's program of this name (tini) and behaves like it,
//! down to exit codes: the command's own, 128 and the signal that killed it,
//! 127 for one that does not exist, 126 for one that may not be executed, 1
//! for anything else.
//!
//! There is no allocator and no library: the program is mapped by every
//! container that asks for it, and travels into every utility VM.
#![no_std]
#![no_main]

mod command;
mod signals;
mod sys;

use command::Arguments;
use sys::{Ended, Pid, exit};

/// What the process cannot go on without failed.
const FAILED: i32 = 1;

fn run(arguments: Arguments) -> ! {
    let Some(command) = arguments.command() else {
        say(&[b"usage: docker-init -- COMMAND [ARGUMENT...]"]);
        exit(FAILED);
    };
    let before = sys::block(signals::HELD);
    match sys::fork() {
        Ok(None) => {
            stand_in_front();
            sys::set_blocked(before);
            exit(command.execute());
        }
        Ok(Some(child)) => look_after(child),
        Err(_) => {
            say(&[b"cannot make a process"]);
            exit(FAILED);
        }
    }
}

/// The command is what the terminal's keys are for.
fn stand_in_front() {
    if sys::lead_process_group().is_ok() {
        // Not on a terminal, or not the one that controls it: nothing to take.
        let _ = sys::take_terminal();
    }
}

fn look_after(child: Pid) -> ! {
    loop {
        let Some(signal) = sys::wait_for_signal(signals::HELD) else { continue };
        if signal == signals::CHILD {
            reap(child);
        } else if !signals::is_terminals(signal) {
            // It may have ended a moment ago.
            let _ = sys::kill(child, signal);
        }
    }
}

/// Collects all that have ended; ends with the child.
fn reap(child: Pid) {
    while let Some((pid, ended)) = sys::collect() {
        if pid == child {
            exit(match ended {
                Ended::Code(code) => code,
                Ended::Signal(signal) => 128 + signal,
            });
        }
    }
}

/// A line on standard error.
fn say(parts: &[&[u8]]) {
    sys::write_error(b"docker-init: ");
    parts.iter().for_each(|part| sys::write_error(part));
    sys::write_error(b"\n");
}
