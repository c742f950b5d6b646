//! kill -9 of whoever takes part, at any moment: the next command clears up,
//! nothing is left, and the next container runs.
//!
//! The moments are random and can be had again: the seed is printed, and
//! `CASEMATE_TEST_SEED` sets it.

use std::time::{Duration, Instant};

use casemate_e2e::process::{ended_within, pid};
use casemate_e2e::{Engine, Finished, PATIENCE, Spawned, both_modes, deadline, host, note};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The user's command.
    Cli,
    Keeper,
    /// The VM process, or the container's init.
    Contained,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

/// One attempt, all that is random in it.
#[derive(Debug)]
struct Plan {
    number: usize,
    victim: Victim,
    phase: Phase,
    auto_remove: bool,
    detach: bool,
    /// What ends the container, where that is under way.
    ending: &'static [&'static str],
    /// From the phase's beginning to the kill.
    delay: Duration,
}

/// So many of each: fifty in all.
const VICTIMS: [(Victim, usize); 3] = [(Victim::Cli, 20), (Victim::Keeper, 15), (Victim::Contained, 15)];

const ENDINGS: [&[&str]; 4] = [&["stop", "-t", "0"], &["stop", "-t", "1"], &["kill"], &["rm", "-f"]];

impl Plan {
    fn all(rng: &mut StdRng, start: Duration) -> Vec<Self> {
        let mut victims: Vec<Victim> =
            VICTIMS.iter().flat_map(|(victim, count)| std::iter::repeat_n(*victim, *count)).collect();
        victims.shuffle(rng);
        let plan = |(number, victim)| {
            let phase = [Phase::Starting, Phase::Running, Phase::Stopping][rng.random_range(0..3)];
            let longest = match phase {
                Phase::Starting => start.mul_f64(1.1),
                Phase::Running => Duration::from_millis(20),
                // A VM's disk is written out before it goes.
                Phase::Stopping => start.mul_f64(0.5),
            };
            Self {
                number,
                victim,
                phase,
                auto_remove: rng.random(),
                detach: rng.random_bool(0.3),
                ending: ENDINGS[rng.random_range(0..ENDINGS.len())],
                delay: longest.mul_f64(rng.random()),
            }
        };
        victims.into_iter().enumerate().map(plan).collect()
    }
}

/// The process that is the victim; none if it has gone, or never came.
fn find(victim: Victim, name: &str) -> Option<u32> {
    let beginning_with = |words: &str| {
        let begins = format!("{words} {name} ");
        host::processes().into_iter().find(|process| process.cmdline.starts_with(&begins)).map(|process| process.pid)
    };
    match victim {
        Victim::Cli => unreachable!("the test has started it"),
        Victim::Keeper => beginning_with("casemate-keeper"),
        Victim::Contained => beginning_with("casemate-vm").or_else(|| {
            let keeper = beginning_with("casemate-keeper")?;
            host::children(keeper).into_iter().next()
        }),
    }
}

/// Returns when it is dead: until then its locks are its own.
fn kill(number: u32) {
    // Gone meanwhile is dead enough.
    if let Ok(pidfd) = pidfd_open(pid(number), PidfdFlags::empty()) {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    assert!(ended_within(number, PATIENCE), "process {number} survived");
}

/// Kills the victim at its moment, and waits for the commands that must end
/// then. How `run` ended, if it was not killed itself.
fn strike(plan: &Plan, name: &str, run: Spawned, ending: Option<Spawned>) -> Option<Finished> {
    std::thread::sleep(plan.delay);
    if plan.victim == Victim::Cli {
        // The later command; the other one would go on as long as its container.
        ending.as_ref().unwrap_or(&run).signal(Signal::KILL);
        return None;
    }
    // It may not have come yet; if its command ends without it, it never will.
    let found = deadline::try_eventually(PATIENCE, || match find(plan.victim, name) {
        Some(number) => Ok(Some(number)),
        None if run.has_ended() || plan.phase == Phase::Stopping => Ok(None),
        None => Err("neither there nor too late"),
    });
    if let Some(number) = found.unwrap() {
        kill(number);
    }
    if let Some(ending) = ending {
        ending.wait();
    }
    Some(run.wait())
}

fn attempt(engine: &Engine, plan: &Plan) {
    let name = format!("r{}", plan.number);
    let mut args = vec!["--name", &name];
    args.extend(plan.auto_remove.then_some("--rm"));
    args.extend(plan.detach.then_some("-d"));
    args.extend(["busybox", "sh", "-c", "echo ready; sleep 100000"]);
    let run = engine.spawn_run(&args);
    if plan.phase != Phase::Starting {
        // In the background it is the id that is printed.
        run.stdout.wait_for(if plan.detach { "\n" } else { "ready\n" });
    }
    let ending = (plan.phase == Phase::Stopping).then(|| engine.spawn(&[plan.ending, &[&name]].concat()));
    let outcome = strike(plan, &name, run, ending);
    if let Some(run) = outcome
        && plan.phase == Phase::Running
        && !plan.detach
    {
        assert_ne!(run.code, 0, "{run:?}");
    }
    engine.cli(&["ps"]).ok();
    engine.remove_all();
    engine.leaks().check();
}

both_modes! {
    fn fifty_kills_leave_nothing(engine: &Engine) {
        let seed = std::env::var("CASEMATE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(rand::random::<u64>);
        let mut rng = StdRng::seed_from_u64(seed);
        engine.run(&["--rm", "busybox", "true"]).ok();
        let from = Instant::now();
        engine.run(&["--rm", "busybox", "true"]).ok();
        let start = from.elapsed();
        note(&format!("CASEMATE_TEST_SEED={seed}, a container takes {start:?}"));
        for plan in Plan::all(&mut rng, start) {
            note(&format!("{plan:?}"));
            attempt(engine, &plan);
        }
        engine.run(&["--rm", "busybox", "echo", "works"]).ok().prints("works\n");
    }

    /// Removed while it is being started, by somebody else.
    fn a_container_can_be_removed_while_it_starts(engine: &Engine) {
        for number in 0..5 {
            let name = format!("early-{number}");
            let run = engine.spawn_run(&["--name", &name, "busybox", "sleep", "100000"]);
            let removed = deadline::try_eventually(PATIENCE, || {
                let removed = engine.cli(&["rm", "-f", &name]);
                // Of what is not there yet it is no failure, as in Docker.
                if removed.out().trim() == name { Ok(()) } else { Err(removed) }
            });
            assert!(removed.is_ok(), "{removed:?}");
            let finished = run.wait();
            assert_ne!(finished.code, 0, "{finished:?}");
            engine.leaks().check();
        }
    }

    /// The container goes on, and the command does not know how it will end.
    fn a_killed_daemon_takes_its_commands_along(engine: &Engine) {
        let run = engine.spawn_run(&["--name", "goes-on", "busybox", "sh", "-c", "echo ready; sleep 100000"]);
        run.stdout.wait_for("ready\n");
        engine.kill_daemon();
        run.wait().exits(125).complains("broke off");
        engine.container("goes-on").exec(&["echo", "alive"]).ok().prints("alive\n");
    }
}
