//! `ps`, `images` and `inspect`.

use casemate_e2e::{Engine, both_modes};
use serde_json::{Value, json};

/// The columns of each row, as separated by at least two blanks.
fn rows(table: &str) -> Vec<Vec<String>> {
    let columns =
        |line: &str| line.split("  ").map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    table.lines().map(columns).collect()
}

both_modes! {
    fn ps_shows_what_runs_and_all_if_asked(engine: &Engine) {
        let headings = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "ISOLATION", "PORTS", "NAMES"];
        assert_eq!(rows(&engine.cli(&["ps"]).ok().out()), [headings]);
        engine.start("up", &[]);
        engine.run(&["--name", "down", "busybox", "sh", "-c", "exit 2"]).exits(2);

        let running = rows(&engine.cli(&["ps"]).ok().out());
        assert_eq!(running.len(), 2, "{running:?}");
        assert_eq!(running[0], headings);
        assert_eq!(running[1][1..3], ["busybox", "\"sleep 100000\""]);
        assert!(running[1][4].starts_with("Up "), "{running:?}");
        assert_eq!(running[1][5..], [engine.isolation.as_str(), "up"]);

        // The newest first.
        let all = rows(&engine.cli(&["ps", "-a"]).ok().out());
        assert_eq!((all.len(), all[1][6].as_str(), all[2][6].as_str()), (3, "down", "up"), "{all:?}");
        assert!(all[1][4].starts_with("Exited (2) "), "{all:?}");

        let ids = engine.cli(&["ps", "-aq"]).ok().out();
        assert_eq!(ids.lines().map(str::len).collect::<Vec<_>>(), [12, 12]);
        let lines = engine.cli(&["ps", "-a", "--no-trunc", "--format", "json"]).ok().out();
        let down: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((&down["Names"], &down["State"]), (&json!("down"), &json!("exited")));
        assert_eq!(down["Isolation"], engine.isolation.as_str());
        assert_eq!(down["ID"].as_str().unwrap().len(), 64);
    }

    fn inspect_tells_what_was_asked_for_and_what_is(engine: &Engine) {
        let options = ["-e", "A=b", "-w", "/tmp", "-h", "box", "-m", "128m", "--cpus", "0.5", "-u", "12:34"];
        let container = engine.start("asked", &options);
        let all = container.inspect();
        assert_eq!(all["Name"], "/asked");
        assert_eq!((&all["Path"], &all["Args"]), (&json!("sleep"), &json!(["100000"])));
        let config = &all["Config"];
        for (field, value) in [("Hostname", "box"), ("User", "12:34"), ("Image", "busybox"), ("WorkingDir", "/tmp")] {
            assert_eq!(config[field], value, "{config}");
        }
        assert_eq!(config["Cmd"], json!(["sleep", "100000"]));
        assert!(config["Env"].as_array().unwrap().contains(&json!("A=b")), "{config}");
        let host = &all["HostConfig"];
        assert_eq!(host["Isolation"], engine.isolation.as_str());
        assert_eq!((&host["Memory"], &host["NanoCpus"]), (&json!(128 << 20), &json!(500_000_000)));
        let state = &all["State"];
        assert_eq!((&state["Status"], &state["Running"], &state["Error"]), (&json!("running"), &json!(true), &json!("")));
        assert!(state["Pid"].as_u64().unwrap() > 1 && state["StartedAt"].as_str().unwrap().starts_with("20"), "{state}");
        timeline_adds_up(engine, all["Casemate"]["StartTimeline"].as_array().unwrap());

        let vm = &all["Casemate"]["Vm"];
        if engine.is_hyperv() {
            let (memory, overhead) = (vm["Memory"].as_u64().unwrap(), vm["MemoryOverhead"].as_u64().unwrap());
            assert!(overhead > 0 && memory >= overhead + (128 << 20), "{vm}");
            assert!(["kvm", "tcg"].contains(&vm["Accelerator"].as_str().unwrap()), "{vm}");
            assert!(!vm["AcceleratorReason"].as_str().unwrap().is_empty() && vm["Cpus"] == 1, "{vm}");
        } else {
            assert!(vm.is_null());
        }
    }

    fn inspect_prints_single_fields(engine: &Engine) {
        engine.start("box", &[]);
        let format = "{{.State.Status}} {{.State.ExitCode}} {{json .Config.Cmd}}";
        engine.cli(&["inspect", "-f", format, "box"]).ok().prints("running 0 [\"sleep\",\"100000\"]\n");
        engine.cli(&["inspect", "-f", "{{.Nothing}}", "box"]).exits(1).complains("Nothing");
        let two = engine.cli(&["inspect", "box", "nobody"]).exits(1).complains("No such container: nobody");
        assert_eq!(serde_json::from_str::<Value>(&two.out()).unwrap().as_array().unwrap().len(), 1);
    }
}

/// The keeper's steps follow each other without a gap; the guest's lie within.
fn timeline_adds_up(engine: &Engine, timeline: &[Value]) {
    let (name, within) =
        (|step: &Value| step["Name"].as_str().unwrap().to_owned(), |step: &Value| step["Within"].clone());
    let bounds = |step: &Value| {
        let start = step["StartUs"].as_u64().unwrap();
        (start, start + step["DurationUs"].as_u64().unwrap())
    };
    let (outer, inner): (Vec<&Value>, Vec<&Value>) = timeline.iter().partition(|step| within(step).is_null());
    let expected: &[&str] = match engine.is_hyperv() {
        true => &["network", "vm process", "guest boot", "guest create", "wait for client", "start"],
        false => &["writable layer", "network", "create", "wait for client", "start"],
    };
    assert_eq!(outer.iter().map(|step| name(step)).collect::<Vec<_>>(), expected);
    assert_eq!(bounds(outer[0]).0, 0);
    assert!(outer.windows(2).all(|pair| bounds(pair[0]).1 == bounds(pair[1]).0), "{timeline:?}");
    assert_eq!(inner.is_empty(), !engine.is_hyperv(), "{timeline:?}");
    for step in inner {
        let around = outer.iter().find(|outer| within(step) == name(outer)).unwrap();
        let ((start, end), (from, to)) = (bounds(step), bounds(around));
        assert!(from <= start && end <= to, "{timeline:?}");
        assert_eq!(name(step) == "start", name(around) == "start", "{timeline:?}");
    }
}
