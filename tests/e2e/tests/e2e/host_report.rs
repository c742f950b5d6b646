//! `info` and `doctor`: what the engine runs on, and what is missing.

use casemate_e2e::{Isolation, Spawned, modes};
use serde_json::Value;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn info_tells_what_the_engine_runs_on() {
    modes::in_mode(Isolation::Hyperv, |engine: &casemate_e2e::Engine| {
        engine.start("up", &[]);
        let info = lines(&engine.cli(&["info", "--format", "json"]).ok().out()).remove(0);
        assert_eq!(
            (&info["Containers"], &info["ContainersRunning"], &info["Images"]),
            (&1.into(), &1.into(), &1.into())
        );
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(info["KernelVersion"], release.trim());
        assert_eq!(info["DockerRootDir"], engine.root().to_str().unwrap());
        let own = &info["Casemate"];
        let accelerator = own["Accelerator"].as_str().unwrap();
        assert!(
            ["kvm", "tcg"].contains(&accelerator) && !own["AcceleratorReason"].as_str().unwrap().is_empty(),
            "{own}"
        );
        // The same that the container was started with.
        assert_eq!(engine.container("up").inspect()["Casemate"]["Vm"]["Accelerator"], accelerator);
        assert!(own["Qemu"].as_str().unwrap().contains(|c: char| c.is_ascii_digit()), "{own}");
        let table = engine.cli(&["info"]).ok().out();
        for heading in ["Accelerator: ", "QEMU: ", "Guest kernel: ", "Host kernel: ", "Cgroup version: "] {
            assert!(table.contains(heading), "{table}");
        }
    });
}

/// Whatever the tests need is here, so nothing may be missing.
#[test]
fn doctor_finds_nothing_missing_here() {
    modes::in_mode(Isolation::Hyperv, |engine: &casemate_e2e::Engine| {
        let checks = lines(&engine.cli(&["doctor", "--format", "json"]).ok().out());
        assert!(checks.len() >= 8 && checks.iter().all(|check| check["Ok"] == true), "{checks:?}");
        assert!(!engine.cli(&["doctor"]).ok().out().contains("missing"));
    });
}

#[test]
fn doctor_says_how_to_mend_what_is_missing() {
    modes::in_mode(Isolation::Hyperv, |engine: &casemate_e2e::Engine| {
        let doctor = |args: &[&str]| {
            let engine_options = ["--qemu", "/nonexistent/qemu", "--lib", "/nonexistent", "doctor"];
            Spawned::start(engine.program(&[&engine_options, args].concat())).wait().exits(1).out()
        };
        let checks = lines(&doctor(&["--format", "json"]));
        let failed: Vec<&Value> = checks.iter().filter(|check| check["Ok"] == false).collect();
        let names: Vec<&str> = failed.iter().map(|check| check["Check"].as_str().unwrap()).collect();
        assert_eq!(names.iter().filter(|name| name.starts_with("guest") || **name == "qemu").count(), 3, "{names:?}");
        for check in failed {
            assert!(!check["Problem"].as_str().unwrap().is_empty(), "{check}");
        }
        assert!(doctor(&[]).contains("fix: make"));
    });
}
