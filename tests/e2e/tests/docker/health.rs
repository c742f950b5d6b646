//! Health checks, run inside the container.

use casemate_e2e::conforming;
use serde_json::json;

const CHECK: [&str; 8] = [
    "--health-cmd",
    "test -e /healthy && echo fine || { echo missing; exit 1; }",
    "--health-interval",
    "300ms",
    "--health-timeout",
    "20s",
    "--health-retries",
    "2",
];

conforming! {
    fn follow_what_the_check_says(docker: &Docker) {
        docker.start("checked", &CHECK);
        let sick = docker.until("checked", "is unhealthy", |inspected| inspected["State"]["Health"]["Status"] == "unhealthy");
        let log = sick["State"]["Health"]["Log"].as_array().unwrap();
        assert!(log.len() >= 2 && log.iter().all(|probe| probe["ExitCode"] == 1 && probe["Output"] == "missing\n"), "{log:?}");
        assert!(sick["State"]["Health"]["FailingStreak"].as_u64().unwrap() >= 2);
        docker.cli(&["exec", "checked", "touch", "/healthy"]).ok();
        let well = docker.until("checked", "is healthy", |inspected| inspected["State"]["Health"]["Status"] == "healthy");
        assert_eq!(well["State"]["Health"]["FailingStreak"], json!(0));
        let status = docker.cli(&["ps", "--filter", "health=healthy", "--format", "{{.Status}}"]).word();
        assert!(status.ends_with("(healthy)"), "{status}");
        docker.cli(&["ps", "-q", "--filter", "health=unhealthy"]).ok().prints("");
        assert_eq!(docker.events_so_far(&["--filter", "event=health_status"]), ["health_status: unhealthy", "health_status: healthy"]);
        docker.cli(&["kill", "checked"]).ok();
        docker.until("checked", "is not probed any more", |inspected| inspected["State"]["Health"]["Status"] == "unhealthy");
    }

    /// While it starts, failures do not count.
    fn begin_with_a_start_period(docker: &Docker) {
        let slow = ["--health-start-period", "1h", "--health-start-interval", "100ms"];
        docker.start("slow", &[&CHECK[..], &slow].concat());
        let tried = docker.until("slow", "was checked", |inspected| {
            inspected["State"]["Health"]["Log"].as_array().is_some_and(|log| log.len() >= 3)
        });
        assert_eq!(tried["State"]["Health"]["Status"], json!("starting"));
        docker.cli(&["exec", "slow", "touch", "/healthy"]).ok();
        docker.until("slow", "is healthy", |inspected| inspected["State"]["Health"]["Status"] == "healthy");
    }

    fn go_on_after_the_daemon_was_killed(docker: &Docker) {
        docker.start("checked", &CHECK);
        docker.cli(&["exec", "checked", "touch", "/healthy"]).ok();
        docker.until("checked", "is healthy", |inspected| inspected["State"]["Health"]["Status"] == "healthy");
        docker.kill_and_restart_daemon();
        docker.until("checked", "is healthy again", |inspected| inspected["State"]["Health"]["Status"] == "healthy");
        docker.cli(&["exec", "checked", "rm", "/healthy"]).ok();
        docker.until("checked", "is unhealthy", |inspected| inspected["State"]["Health"]["Status"] == "unhealthy");
    }
}
