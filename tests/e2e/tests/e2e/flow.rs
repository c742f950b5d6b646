//! A reader that stands still holds up its own stream, and nothing else: not
//! the other streams, and not the memory of whoever is between.

use std::time::Duration;

use casemate_e2e::{PATIENCE, Spawned, both_modes, eventually, host};

/// Readers that stand still.
const STOPPED: usize = 4;

/// What the keeper may grow by for all of them together: their windows in each
/// direction, and what an allocator keeps.
const GROWTH_KIB: u64 = 16 << 10;

/// Time for `yes` to write gigabytes, if someone let it.
const A_WHILE: Duration = Duration::from_secs(2);

fn resident_kib(pid: u32) -> u64 {
    let text = host::process(pid).and_then(|process| process.status("VmRSS")).expect("a process that lives");
    text.trim_end_matches(" kB").parse().expect("a number")
}

/// Waits until the pipe that nobody reads is full, and stays so.
fn until_stuck(running: &Spawned) {
    const PIPE: u64 = 64 << 10;
    eventually("the pipe is full", PATIENCE, || match running.waiting_bytes() {
        PIPE.. => Ok(()),
        bytes => Err(format!("{bytes} bytes")),
    });
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
        stopped.iter().for_each(until_stuck);

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
        let cli = engine.with(&[]);
        let args = cli.run_args(&["--rm", "--name", "well", "busybox", "sh", "-c", "head -c 3000000 /dev/zero; echo end >&2"]);
        let mut running = Spawned::start_unread(cli.command(&args));
        until_stuck(&running);
        let container = engine.container("well");
        container.exec(&["echo", "alive"]).ok().prints("alive\n");
        container.exec(&["cat", "/proc/uptime"]).ok();
        running.read_on();
        let finished = running.wait().ok();
        assert_eq!(finished.stdout.len(), 3_000_000);
        assert_eq!(finished.err(), "end\n");
    }
}
