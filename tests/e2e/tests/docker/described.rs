//! What the daemon answers, against Docker's description of its API.

use std::collections::BTreeSet;

use casemate_e2e::description::Description;
use casemate_e2e::recorder::{Exchange, Recorder};
use casemate_e2e::{Docker, Finished, Spawned, both_modes, http};
use serde_json::{Value, json};

/// Answers that must have been among those that were looked at.
const OPERATIONS: [&str; 46] = [
    "HEAD /_ping",
    "GET /version",
    "GET /info",
    "GET /events",
    "GET /system/df",
    "POST /containers/create",
    "GET /containers/json",
    "GET /containers/{id}/json",
    "GET /containers/{id}/top",
    "GET /containers/{id}/logs",
    "POST /containers/{id}/start",
    "POST /containers/{id}/stop",
    "POST /containers/{id}/restart",
    "POST /containers/{id}/kill",
    "POST /containers/{id}/rename",
    "POST /containers/{id}/pause",
    "POST /containers/{id}/unpause",
    "POST /containers/{id}/update",
    "GET /containers/{id}/stats",
    "GET /containers/{id}/changes",
    "GET /containers/{id}/export",
    "HEAD /containers/{id}/archive",
    "GET /containers/{id}/archive",
    "PUT /containers/{id}/archive",
    "POST /commit",
    "POST /images/load",
    "GET /images/{name}/get",
    "POST /containers/{id}/wait",
    "POST /containers/{id}/attach",
    "POST /containers/{id}/exec",
    "POST /containers/{id}/resize",
    "POST /containers/prune",
    "DELETE /containers/{id}",
    "POST /exec/{id}/start",
    "GET /exec/{id}/json",
    "POST /exec/{id}/resize",
    "GET /images/json",
    "GET /images/{name}/json",
    "GET /images/{name}/history",
    "POST /images/{name}/tag",
    "POST /images/create",
    "POST /images/prune",
    "DELETE /images/{name}",
    "GET /networks",
    "GET /volumes",
    "GET /swarm",
];

/// Where the description is behind Docker's daemon, or this one has more.
fn is_known(problem: &str) -> bool {
    [
        // Its own object, in answers that clients read field by field.
        ".Casemate is not described",
        "answer.casemate is not described",
        // The form of events before 1.22, which Docker's daemon sends as well.
        "answer.status is not described",
        "answer.id is not described",
        "answer.from is not described",
        // Docker's daemon sends these as well, and its description lacks them:
        // whose statistics they are, the exit code of an exec that has not ended, the resize of a container
        // that does not run, and a connection that becomes a stream.
        "answer.os_type is not described",
        "answer.ExitCode is null, and should be Some(\"integer\")",
        "/resize?h=20&w=70: 409: status 409 is not described",
        "/start: 101: status 101 is not described",
    ]
    .iter()
    .any(|known| problem.ends_with(known))
}

fn all_verbs(docker: &Docker, recorder: &Recorder) {
    let cli = |args: &[&str]| -> Finished {
        let mut command = docker.command(args);
        command.env("DOCKER_HOST", recorder.host());
        Spawned::start(command).wait()
    };
    let call = |method: &str, path: &str, body: Option<Value>| {
        http::request_json(recorder.socket(), method, path, body.as_ref())
    };
    let isolation = docker.isolation();
    cli(&["version"]).ok();
    cli(&["run", "--rm", "--isolation", isolation, "busybox", "echo", "hello"]).ok().prints("hello\n");
    let options = [
        "-d",
        "--name",
        "web",
        "--isolation",
        isolation,
        "-l",
        "tier=wall",
        "-e",
        "A=b",
        "-m",
        "128m",
        "--restart",
        "on-failure:2",
        "--health-cmd",
        "true",
        "--health-interval",
        "200ms",
    ];
    cli(&[&["run"], &options[..], &["busybox", "sh", "-c", "echo said; sleep 100000"]].concat()).ok();
    cli(&["run", "--name", "fails", "--isolation", isolation, "busybox", "no-such-command"]).exits(127);
    docker.until("web", "is healthy", |inspected| inspected["State"]["Health"]["Status"] == "healthy");
    cli(&["ps", "-a"]).ok();
    cli(&["inspect", "web", "fails"]).ok();
    cli(&["exec", "web", "sh", "-c", "exit 3"]).exits(3);
    cli(&["exec", "nobody", "true"]).exits(1);
    cli(&["top", "web"]).ok();
    cli(&["logs", "web"]).ok();
    cli(&["start", "web"]).ok();
    cli(&["pause", "web"]).ok();
    cli(&["unpause", "web"]).ok();
    cli(&["update", "-m", "120m", "--memory-swap", "-1", "web"]).ok();
    cli(&["stats", "--no-stream", "web"]).ok();
    let file = |name: &str| docker.engine().scratch().join(name).to_str().expect("a path in text").to_owned();
    let (copied, exported, archive) = (file("copied"), file("exported.tar"), file("image.tar"));
    cli(&["cp", "web:/etc/hosts", &copied]).ok();
    cli(&["cp", &copied, "web:/copied"]).ok();
    // The client leaves when it has the last file, which may be before the end.
    call("GET", "/v1.50/containers/web/archive?path=/etc/hosts", None).is(200);
    cli(&["diff", "web"]).ok();
    cli(&["export", "-o", &exported, "web"]).ok();
    cli(&["commit", "web", "committed:1"]).ok();
    call("GET", "/v1.50/images/committed:1/get", None).is(200);
    cli(&["save", "-o", &archive, "committed:1"]).ok();
    cli(&["load", "-i", &archive]).ok();
    cli(&["rmi", "committed:1"]).ok();
    cli(&["rename", "web", "site"]).ok();
    cli(&["restart", "-t", "0", "site"]).ok();
    let exec = call("POST", "/v1.50/containers/site/exec", Some(json!({ "Cmd": ["sleep", "100000"], "Tty": true })))
        .is(201)
        .json();
    let exec = exec["Id"].as_str().expect("an id").to_owned();
    call("GET", &format!("/v1.50/exec/{exec}/json"), None).is(200);
    call("POST", &format!("/v1.50/exec/{exec}/start"), Some(json!({ "Detach": true, "Tty": true }))).is(200);
    call("POST", &format!("/v1.50/exec/{exec}/resize?h=20&w=70"), None).is(200);
    call("POST", &format!("/v1.50/exec/{exec}/start"), Some(json!({ "Detach": true }))).is(409);
    call("POST", "/v1.50/containers/fails/resize?h=20&w=70", None).is(409);
    call("POST", "/v1.50/containers/create", Some(json!({ "Image": "no-such-image" }))).is(404);
    call("POST", "/v1.50/containers/create?name=site", Some(json!({ "Image": "busybox" }))).is(409);
    call("POST", "/v1.50/containers/create", Some(json!({}))).is(400);
    call("POST", "/v1.50/containers/site/wait?condition=bored", None).is(400);
    call("GET", "/v1.50/containers/nobody/json", None).is(404);
    call("DELETE", "/v1.50/containers/site", None).is(409);
    cli(&["kill", "site"]).ok();
    cli(&["kill", "site"]).exits(1);
    cli(&["wait", "site"]).ok();
    cli(&["stop", "site"]).ok();
    cli(&["events", "--since", "1h", "--until", "-1s"]).ok();
    cli(&["images"]).ok();
    cli(&["image", "inspect", "busybox"]).ok();
    cli(&["image", "history", "busybox"]).ok();
    cli(&["tag", "busybox", "other:1"]).ok();
    cli(&["rmi", "other:1"]).ok();
    cli(&["image", "prune", "-f"]).ok();
    call("GET", "/v1.50/images/no-such-image/json", None).is(404);
    call("POST", "/v1.50/images/busybox/tag?repo=UPPER", None).is(400);
    // Nobody is there.
    call("POST", "/v1.50/images/create?fromImage=127.0.0.1:9/app&tag=1", None).is(500);
    cli(&["info"]).ok();
    cli(&["system", "df"]).ok();
    cli(&["network", "ls"]).ok();
    cli(&["volume", "ls"]).ok();
    cli(&["swarm", "ca"]).exits(1);
    cli(&["rm", "fails"]).ok();
    cli(&["container", "prune", "-f"]).ok();
}

both_modes! {
    fn every_answer_is_as_described(docker: &Docker) {
        let recorder = Recorder::start(&docker.socket(), &docker.engine().scratch().join("recorder.sock"));
        all_verbs(docker, &recorder);
        let description = Description::load();
        let (mut operations, mut problems) = (BTreeSet::new(), BTreeSet::new());
        for exchange in recorder.exchanges() {
            let verdict = description.judge(&exchange);
            operations.extend(verdict.operation);
            problems.extend(verdict.problems.into_iter().filter(|problem| !is_known(problem)));
        }
        let problems: Vec<String> = problems.into_iter().collect();
        assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
        let missing: Vec<&str> = OPERATIONS.into_iter().filter(|operation| !operations.contains(*operation)).collect();
        assert!(missing.is_empty(), "{missing:?} were not among {operations:?}");
    }
}

/// The check itself is checked.
#[test]
fn a_wrong_answer_is_noticed() {
    let description = Description::load();
    let judge = |method: &str, path: &str, status: u16, body: Value| {
        let exchange = Exchange {
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            content_type: Some("application/json".to_owned()),
            body: body.to_string().into_bytes(),
        };
        description.judge(&exchange).problems
    };
    let list = "/v1.50/containers/json?all=1";
    assert_eq!(
        judge("GET", list, 200, json!([{ "Id": "x", "Created": 3, "Labels": { "a": "b" }, "Ports": null }])),
        [""; 0]
    );
    let wrong = [
        ("GET", list, 200, json!({ "Id": "x" })),
        ("GET", list, 200, json!([{ "Id": 3 }])),
        ("GET", list, 200, json!([{ "Created": "now" }])),
        ("GET", list, 200, json!([{ "Labels": { "a": 1 } }])),
        ("GET", list, 200, json!([{ "Colour": "red" }])),
        ("GET", list, 200, json!([{ "Id": null }])),
        ("GET", list, 200, json!([{ "State": "asleep" }])),
        ("GET", list, 418, json!({ "message": "a teapot" })),
        ("GET", list, 400, json!({ "message": 3 })),
        ("GET", "/containers/x/json", 200, json!({ "HostConfig": { "Isolation": "vault" } })),
        ("GET", "/containers/x/json", 200, json!({ "HostConfig": { "Memory": 1.5 } })),
        ("GET", "/no/such/page", 200, json!({})),
        ("PUT", "/containers/json", 200, json!([])),
    ];
    for (method, path, status, body) in wrong {
        let problems = judge(method, path, status, body.clone());
        assert_eq!(problems.len(), 1, "{method} {path} {status} {body}: {problems:?}");
    }
}
