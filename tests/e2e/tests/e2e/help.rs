//! What `--help` shows.

use casemate_e2e::{Isolation, modes};

const OF_THE_ENGINE: [&str; 3] = ["--root", "--qemu", "--boot-timeout"];

#[test]
fn the_engines_options_are_in_its_own_help_only() {
    modes::in_mode(Isolation::Process, |engine: &casemate_e2e::Engine| {
        let help = engine.cli(&["--help"]).ok().out();
        assert!(help.contains("Engine options:") && OF_THE_ENGINE.iter().all(|option| help.contains(option)), "{help}");
        for command in [
            "run", "exec", "ps", "kill", "stop", "rm", "logs", "inspect", "top", "load", "images", "rmi", "info",
            "doctor", "daemon", "port", "ports", "firewall",
        ] {
            let help = engine.cli(&[command, "--help"]).ok().out();
            assert!(help.contains("Usage: casemate"), "{help}");
            assert!(OF_THE_ENGINE.iter().all(|option| !help.contains(option)), "{help}");
        }
        engine.cli(&["ps", "--no-such-option"]).exits(125);
    });
}
