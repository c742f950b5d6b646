//! A reader that stands still or goes away holds up its own stream, and nothing
//! else: not the other streams, not the memory of whoever is between, and not
//! the process that writes for it. A writer that never stops keeps nobody from
//! being answered.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use casemate_e2e::{Container, Engine, PATIENCE, Spawned, both_modes, eventually, host};

/// Readers that stand still.
const STOPPED: usize = 4;

/// What the keeper may grow by for all of them together: their windows in each
/// direction, and what an allocator keeps.
const GROWTH_KIB: u64 = 16 << 10;

/// A keeper that is kept from its tasks by a flood takes longer than this, one
/// that is not a twentieth.
const PROMPT: Duration = Duration::from_secs(10);

/// The execs that a container may have at a time.
const MAX_EXECS: usize = 64;

/// Time for `yes` to write gigabytes, if someone let it.
const A_WHILE: Duration = Duration::from_secs(2);

fn resident_kib(pid: u32) -> u64 {
    let text = host::process(pid).and_then(|process| process.status("VmRSS")).expect("a process that lives");
    text.trim_end_matches(" kB").parse().expect("a number")
}

/// Waits until more of the container's output is on disk than there is by now.
fn until_logged_on(engine: &Engine, name: &str) {
    let id = engine.container(name).inspect()["Id"].as_str().expect("an id").to_owned();
    let log = engine.root().join("containers").join(&id).join(format!("{id}-json.log"));
    let now = SystemTime::now();
    eventually("the log grows", PATIENCE, || match log.metadata().and_then(|metadata| metadata.modified()) {
        Ok(modified) if modified > now => Ok(()),
        modified => Err(format!("last written at {modified:?}")),
    });
}

/// The processes of the container by this name, inside.
fn running(container: &Container, name: &str) -> usize {
    let pids = container.exec(&["pidof", name]).out();
    pids.split_whitespace().count()
}

both_modes! {
    fn stopped_readers_stall_neither_others_nor_memory(engine: &Engine) {
        let container = engine.start("spring", &[]);
        container.exec(&["true"]).ok();
        let keeper = container.host_pid("keeper");
        let available = || {
            let text = container.exec(&["sed", "-n", "s/^MemAvailable: *\\([0-9]*\\) kB/\\1/p", "/proc/meminfo"]).ok().out();
            text.trim().parse::<u64>().expect("a number")
        };
        let (keeper_before, guest_before) = (resident_kib(keeper), available());

        let stopped: Vec<Spawned> =
            (0..STOPPED).map(|_| Spawned::start_unread(engine.command(&["exec", "spring", "yes"]))).collect();
        stopped.iter().for_each(Spawned::until_stuck);

        // Another stream is not held up, in either direction.
        let mut other = engine.spawn(&["exec", "-i", "spring", "cat"]);
        other.feed(vec![b'x'; 4 << 20]);
        assert_eq!(other.wait().ok().stdout.len(), 4 << 20);

        std::thread::sleep(A_WHILE);
        let keeper_after = resident_kib(keeper);
        assert!(keeper_after < keeper_before + GROWTH_KIB, "the keeper grew from {keeper_before} to {keeper_after} KiB");
        if engine.is_hyperv() {
            let guest_after = available();
            assert!(guest_after + 2 * GROWTH_KIB > guest_before, "the guest had {guest_before} KiB, and has {guest_after}");
        }
        for running in stopped {
            drop(running);
        }
        container.exec(&["echo", "alive"]).ok().prints("alive\n");
    }

    /// The same of the container's own output, whose reader goes on later.
    fn a_stopped_reader_of_the_init_can_go_on(engine: &Engine) {
        let args = engine.run_args(&["--rm", "--name", "well", "busybox", "sh", "-c", "head -c 3000000 /dev/zero; echo end >&2"]);
        let mut running = Spawned::start_unread(engine.command(&args));
        running.until_stuck();
        let container = engine.container("well");
        container.exec(&["echo", "alive"]).ok().prints("alive\n");
        container.exec(&["cat", "/proc/uptime"]).ok();
        running.read_on();
        let finished = running.wait().ok();
        assert_eq!(finished.stdout.len(), 3_000_000);
        assert_eq!(finished.err(), "end\n");
    }

    /// Neither the log nor whoever reads it keeps a keeper from its tasks.
    fn a_flood_leaves_everything_answering(engine: &Engine) {
        for name in ["killed", "removed"] {
            engine.run(&["-d", "--name", name, "busybox", "yes"]).ok();
            until_logged_on(engine, name);
            engine.spawn(&["exec", name, "true"]).wait_within(PROMPT).ok();
            engine.spawn(&["top", name]).wait_within(PROMPT).ok();
        }
        engine.spawn(&["kill", "killed"]).wait_within(PROMPT).ok();
        engine.spawn(&["rm", "-f", "removed"]).wait_within(PROMPT).ok();
        engine.container("killed").until("exited");
        engine.cli(&["logs", "--tail", "1", "killed"]).ok().prints("y\n");
    }

    /// Docker's command ends with 1 and says why; the container goes on, and so
    /// does its log.
    fn a_reader_that_goes_away_ends_run_only(engine: &Engine) {
        let mut run = Spawned::start_unread(engine.command(&engine.run_args(&["--name", "out", "busybox", "yes"])));
        run.until_stuck();
        run.leave_stdout();
        run.stderr.wait_for("write /dev/stdout: broken pipe\n");
        assert_eq!(run.code(), 1);
        until_logged_on(engine, "out");
        assert_eq!(engine.container("out").state()["Status"], "running");

        // It cannot even say why.
        let script = ["--name", "err", "busybox", "sh", "-c", "yes >&2"];
        let mut run = Spawned::start_unread(engine.command(&engine.run_args(&script)));
        eventually("it writes", PATIENCE, || {
            if engine.cli(&["logs", "--tail", "1", "err"]).err() == "y\n" { Ok(()) } else { Err("not yet") }
        });
        run.leave_stderr();
        assert_eq!(run.code(), 141);
        until_logged_on(engine, "err");
    }

    /// Docker's command ends as SIGPIPE ends it; the process goes on.
    fn a_reader_that_goes_away_ends_exec_only(engine: &Engine) {
        let container = engine.start("spring", &[]);
        let mut exec = Spawned::start_unread(engine.command(&["exec", "spring", "yes"]));
        exec.until_stuck();
        exec.leave_stdout();
        assert_eq!(exec.code(), 141);
        let mut exec = Spawned::start_unread(engine.command(&["exec", "spring", "sh", "-c", "yes >&2"]));
        eventually("the second runs", PATIENCE, || match running(&container, "yes") {
            2 => Ok(()),
            count => Err(format!("{count} run")),
        });
        exec.leave_stderr();
        assert_eq!(exec.code(), 141);
        assert_eq!(running(&container, "yes"), 2);
    }

    /// What its client does not read any more is read and forgotten, whether
    /// or not the client could say goodbye.
    fn an_exec_outlives_its_client(engine: &Engine) {
        let container = engine.start("host", &[]);
        let script = "echo ready; head -c 3000000 /dev/zero && touch /done";
        let exec = Spawned::start_unread(engine.command(&["exec", "host", "sh", "-c", script]));
        exec.until_stuck();
        // Killed, as by the out-of-memory killer.
        drop(exec);
        eventually("the exec ends", PATIENCE, || match container.exec(&["test", "-e", "/done"]).code {
            0 => Ok(()),
            code => Err(format!("test exits with {code}")),
        });
    }

    /// One more is refused; nothing else suffers, and there is room again when
    /// one has ended.
    fn too_many_execs_are_refused(engine: &Engine) {
        engine.configure(&["--health-deadline", "3"]);
        let container = engine.start("crowd", &[]);
        let exec = || engine.spawn(&["exec", "-i", "crowd", "sh", "-c", "echo ready; cat"]);
        let mut crowd: Vec<Spawned> = (0..MAX_EXECS).map(|_| exec()).collect();
        crowd.iter().for_each(|exec| exec.stdout.wait_for("ready\n"));
        for _ in 0..3 {
            container.exec(&["true"]).exits(126).says("64 commands run in this container by exec, which is the most");
        }
        engine.cli(&["top", "crowd"]).ok();
        engine.cli(&["kill", "-s", "CONT", "crowd"]).ok();
        // An agent that is not asked for its health would be taken for dead.
        std::thread::sleep(Duration::from_secs(6));
        assert_eq!(container.state()["Status"], "running");

        crowd.pop().expect("the last of them").wait().ok().prints("ready\n");
        let more = eventually("there is room again", PATIENCE, || {
            let finished = container.exec(&["echo", "more"]);
            if finished.code == 0 { Ok(finished) } else { Err(finished.err()) }
        });
        more.prints("more\n");
        for (number, exec) in crowd.iter_mut().enumerate() {
            exec.feed(format!("for {number}\n").into_bytes());
        }
        for (number, exec) in crowd.into_iter().enumerate() {
            exec.wait().ok().prints(&format!("ready\nfor {number}\n"));
        }
    }

    /// All that the keeper opens for an exec it closes.
    fn execs_leave_no_descriptors(engine: &Engine) {
        let container = engine.start("host", &[]);
        container.exec(&["true"]).ok();
        let keeper = container.host_pid("keeper");
        let open = || host::descriptors(keeper).into_iter().map(|(_, path)| path).collect::<Vec<_>>();
        let until_closed = |before: &[PathBuf]| {
            eventually("the descriptors are closed", PATIENCE, || match open() {
                now if now.len() <= before.len() => Ok(()),
                now => Err(format!("{now:?} were {before:?}")),
            });
        };
        let before = open();
        for _ in 0..3 {
            container.exec(&["true"]).ok();
            container.exec(&["no-such-command"]).exits(127);
            engine.cli(&["exec", "-t", "host", "echo", "hi"]).ok().prints("hi\r\n");
            engine.cli(&["exec", "-i", "host", "cat"]).ok();
            // Something is left that has its outputs.
            container.exec(&["sh", "-c", "sleep 100000 & echo started"]).ok().prints("started\n");
            // Nobody reads what it was sent.
            let mut fed = engine.spawn(&["exec", "-i", "host", "sh", "-c", "read line; echo $line"]);
            fed.feed([b"line\n".to_vec(), vec![b'x'; 1 << 20]].concat());
            fed.wait().ok().prints("line\n");
        }
        until_closed(&before);
        // A client that has gone leaves an exec, but no input.
        let mut gone = engine.spawn(&["exec", "-i", "host", "sh", "-c", "echo ready; exec sleep 100000"]);
        gone.stdout.wait_for("ready\n");
        gone.feed(vec![b'x'; 1 << 20]);
        drop(gone);
        container.exec(&["killall", "sleep"]).ok();
        until_closed(&before);
    }
}
