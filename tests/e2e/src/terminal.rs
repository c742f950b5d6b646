//! A user's terminal: a real pseudo-terminal with the program on its other
//! side as the leader of a session of its own.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::deadline::PATIENCE;
use crate::process::{Output, ended_within};

#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    /// [`Self::modes`] before the program began.
    pub modes_before: String,
    child: Child,
    /// All that would be seen on the screen.
    pub screen: Output,
}

impl Terminal {
    /// Starts the program on a new terminal of this size.
    pub fn start(command: Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname");
        let name = name.to_str().expect("a path of ASCII").to_owned();
        let open = || {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            let slave = rustix::fs::open(&name, flags, Mode::empty()).expect("the terminal's other side");
            Stdio::from(slave)
        };
        // setsid(1) makes its standard input the session's terminal, and is
        // replaced by the program: the child is the program.
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(name, value),
                None => leader.env_remove(name),
            };
        }
        set_size(&master, rows, columns);
        let modes_before = modes(&master);
        let child = leader.stdin(open()).stdout(open()).stderr(open()).spawn().expect("setsid(1) of util-linux");
        let reader = master.try_clone().expect("the master's descriptor");
        Self { master, modes_before, child, screen: Output::read(File::from(reader)) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn press(&self, keys: &[u8]) {
        let mut master = File::from(self.master.try_clone().expect("the master's descriptor"));
        master.write_all(keys).expect("a terminal that takes keys");
    }

    /// The kernel tells the program by SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.master, rows, columns);
    }

    /// The same, again and again until the program shows it: Docker's client does
    /// not hear of a change that comes between its start and its listening.
    #[track_caller]
    pub fn resize_until_shown(&self, rows: u16, columns: u16) {
        let shown = format!("{rows} {columns}\r\n");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The kernel tells of changes only.
            self.resize(rows, columns - 1);
            self.resize(rows, columns);
            if self.screen.comes_within(&shown, Duration::from_secs(1)) {
                return;
            }
            assert!(Instant::now() < deadline, "{shown:?} has not come");
        }
    }

    /// How it treats keys and output, for comparison.
    pub fn modes(&self) -> String {
        modes(&self.master)
    }

    /// Waits for the program's end; the modes it leaves and its exit code.
    #[track_caller]
    pub fn modes_after_end(mut self) -> (String, i32) {
        let code = self.wait_mut();
        (self.modes(), code)
    }

    /// Waits for the program's end; its exit code.
    #[track_caller]
    pub fn wait(mut self) -> i32 {
        self.wait_mut()
    }

    #[track_caller]
    fn wait_mut(&mut self) -> i32 {
        assert!(
            ended_within(self.child.id(), PATIENCE),
            "has not ended; on the screen is {}",
            String::from_utf8_lossy(&self.screen.so_far())
        );
        self.child.wait().expect("a child's exit status").code().unwrap_or(-1)
    }
}

fn modes(terminal: &OwnedFd) -> String {
    let modes = tcgetattr(terminal).expect("a terminal's modes");
    format!("{:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.local_modes)
}

fn set_size(terminal: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal's size");
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
