//! The command line, and finding and executing the command as execvp(3) does.

use crate::say;
use crate::sys::{self, Errno, Strings, Text};

/// The kernel takes no longer path.
const LONGEST_PATH: usize = 4096;

/// Where to look without a `PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

const SHELL: Text = Text::new(c"/bin/sh");

/// What this program was started with.
pub(crate) struct Arguments {
    pub(crate) arguments: Strings,
    pub(crate) environment: Strings,
}

pub(crate) struct Command {
    /// The command and its arguments.
    arguments: Strings,
    environment: Strings,
    name: Text,
}

impl Arguments {
    /// What is behind this program's name and the dashes.
    pub(crate) fn command(self) -> Option<Command> {
        let Self { arguments, environment } = self;
        let rest = arguments.after(1);
        let rest = if rest.first()?.bytes() == b"--" { rest.after(1) } else { rest };
        Some(Command { name: rest.first()?, arguments: rest, environment })
    }
}

impl Command {
    /// Returns, with an exit code, only if it cannot be executed.
    pub(crate) fn execute(&self) -> i32 {
        let errno = if self.name.bytes().contains(&b'/') { self.at(self.name) } else { self.in_path() };
        let (words, code) = match errno {
            Errno::NOENT => (&b"No such file or directory"[..], 127),
            Errno::ACCES => (&b"Permission denied"[..], 126),
            Errno::NOEXEC => (&b"Exec format error"[..], 1),
            _ => (&b"it cannot be executed"[..], 1),
        };
        say(&[b"exec ", self.name.bytes(), b" failed: ", words]);
        code
    }

    /// Tries each directory of the path; tells of a file that is there and may
    /// not be executed rather than of those that are not.
    fn in_path(&self) -> Errno {
        let entry = self.environment.iter().find(|entry| entry.bytes().starts_with(b"PATH="));
        let path = entry.as_ref().and_then(|entry| entry.bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
        let mut errno = Errno::NOENT;
        for directory in path.split(|byte| *byte == b':') {
            let mut room = sys::room::<LONGEST_PATH>();
            // An empty one is where it stands.
            let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
            let Some(file) = Text::joined(&mut room, [directory, slash, self.name.bytes()]) else { continue };
            match self.at(file) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCES => errno = Errno::ACCES,
                other => return other,
            }
        }
        errno
    }

    fn at(&self, file: Text) -> Errno {
        match sys::execute(file, &self.arguments, &self.environment) {
            // A script that names no interpreter is the shell's.
            Errno::NOEXEC => match self.arguments.behind(SHELL, file) {
                Some(arguments) => {
                    sys::execute(SHELL, &arguments, &self.environment);
                    Errno::NOEXEC
                }
                None => Errno::NOEXEC,
            },
            errno => errno,
        }
    }
}
