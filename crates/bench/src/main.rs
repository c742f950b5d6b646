//! `casemate-bench`: how long a container takes to start, and what an idle one
//! costs, beside the programs that set the measure.
//!
//! All subjects of a comparison run in one go and in turn (A B A B …), after
//! one round that does not count; ratios are taken round by round, so that a
//! slow moment of the machine is in both halves of a ratio. What is printed is
//! what was measured, with the range it was in; nothing here judges it.
//!
//! Everything lives in directories of its own and is taken away at the end,
//! also after an error or ctrl-C.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program that talks to its user")]

mod casemate;
mod cli;
mod docker;
mod error;
mod floor;
mod host;
mod interrupt;
mod memory;
mod report;
mod runc;
mod series;
mod subject;
mod timeline;

use std::process::ExitCode;

use clap::Parser;

use casemate::Casemate;
use cli::Cli;
use docker::Docker;
use error::BenchError;
use floor::Floor;
use interrupt::Interrupt;
use report::Report;
use runc::Runc;
use series::{Comparison, Ratio};
use subject::{Moment, Rounds};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Interrupt::watch().and_then(|interrupt| measure(&cli, &interrupt));
    match outcome {
        Ok(report) if cli.json => println!("{:#}", report.json()),
        Ok(report) => print!("{}", report.text()),
        Err(error) => {
            eprintln!("casemate-bench: {}", casemate_model::chain(&error));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(cli: &Cli, interrupt: &Interrupt) -> Result<Report, BenchError> {
    let casemate = Casemate::at(&cli.prefix, &cli.dir)?;
    let rounds = Rounds { count: cli.runs.get(), pause: cli.pause(), interrupt, progress: !cli.quiet };
    let host = host::describe(&casemate)?;
    // Brings the image in, which only the first container pays for.
    casemate.check_it_runs()?;

    let (process, docker_missing) = process_mode(&casemate, &rounds)?;
    let hyperv = hyperv_mode(&casemate, &rounds)?;
    let timelines = timeline::of_both_modes(&casemate, &rounds)?;
    let memory = memory::of_idle_containers(&casemate, cli.containers.get(), interrupt)?;
    let load_after = host::load()?;
    Ok(Report {
        host,
        load_after,
        runs: rounds.count,
        comparisons: vec![process, hyperv],
        docker_missing,
        timelines,
        memory,
    })
}

/// Against runc and, where there is a daemon, Docker. Also returns why Docker
/// was left out.
fn process_mode(casemate: &Casemate, rounds: &Rounds<'_>) -> Result<(Comparison, Option<String>), BenchError> {
    let layers = casemate.layer_dirs()?;
    let runc = Runc::make(casemate.scratch(), &layers)?;
    let docker = Docker::reach(&layers)?;
    let whole = Moment::Exit;
    let run = casemate.run(&["--rm", "busybox", "true"], whole);
    let mut subjects = vec![run, runc.run()];
    let mut ratios = vec![Ratio { of: 0, to: 1, aim: "under 2" }];
    if docker::has_client() {
        subjects.push(casemate.docker_run(&["--rm", "busybox", "true"]));
        ratios.push(Ratio { of: 2, to: 0, aim: "" });
    }
    let docker_missing = match &docker {
        Ok(docker) => {
            subjects.push(docker.run(&[]));
            subjects.push(docker.run(&["--network", "none"]));
            ratios.push(Ratio { of: 0, to: 3, aim: "under 0.3" });
            ratios.push(Ratio { of: 2, to: 3, aim: "0.3 or better" });
            ratios.push(Ratio { of: 2, to: 4, aim: "" });
            None
        }
        Err(missing) => Some(missing.to_string()),
    };
    let series = rounds.interleave("process mode", &mut subjects)?;
    Ok((Comparison { title: "Process mode, the whole command", series, ratios }, docker_missing))
}

/// Against a virtual machine of the same kind that does nothing.
fn hyperv_mode(casemate: &Casemate, rounds: &Rounds<'_>) -> Result<Comparison, BenchError> {
    let floor = Floor::make(casemate)?;
    let run = casemate.run(&["--rm", "--isolation", "hyperv", "busybox", "echo", "x"], Moment::FirstByteAndExit);
    let mut subjects = vec![run, floor.run()];
    let series = rounds.interleave("hyperv mode", &mut subjects)?;
    let ratios = vec![
        Ratio { of: 0, to: 2, aim: "at most 1.15" },
        Ratio { of: 1, to: 2, aim: "" },
        Ratio { of: 1, to: 3, aim: "" },
    ];
    Ok(Comparison { title: "Hyperv mode, cold", series, ratios })
}
