//! Statuses and words as clients that match on them see them: bare HTTP.

use casemate_e2e::{Docker, conforming, http};
use serde_json::{Value, json};

fn create_exec(docker: &Docker, container: &str, body: &Value) -> String {
    let made = docker.request("POST", &format!("/containers/{container}/exec"), Some(body)).is(201);
    made.json()["Id"].as_str().expect("an id").to_owned()
}

conforming! {
    fn what_is_so_already_is_not_modified(docker: &Docker) {
        docker.start("web", &["--stop-timeout", "0"]);
        docker.post("/containers/web/start").is(304);
        docker.post("/containers/web/stop").is(204);
        docker.post("/containers/web/stop").is(304);
        docker.post("/v1.44/containers/web/start").is(204);
        docker.post("/containers/web/restart?t=0").is(204);
        docker.request("DELETE", "/containers/web", None).is(409).says("container is running");
        docker.request("DELETE", "/containers/web?force=1", None).is(204);
    }

    fn what_is_not_there_is_not_found(docker: &Docker) {
        for (method, path) in [
            ("GET", "/containers/nobody/json"), ("GET", "/containers/nobody/top"), ("GET", "/containers/nobody/logs?stdout=1"),
            ("POST", "/containers/nobody/start"), ("POST", "/containers/nobody/stop"), ("POST", "/containers/nobody/kill"),
            ("POST", "/containers/nobody/restart"), ("POST", "/containers/nobody/wait"), ("POST", "/containers/nobody/resize?h=1&w=1"),
            ("POST", "/containers/nobody/rename?name=x"), ("DELETE", "/containers/nobody"), ("POST", "/containers/nobody/attach"),
        ] {
            docker.request(method, path, None).is(404).says("No such container: nobody");
        }
        docker.request("POST", "/containers/nobody/exec", Some(&json!({ "Cmd": ["true"] }))).is(404);
        docker.get("/exec/nobody/json").is(404).says("No such exec instance: nobody");
        docker.get("/images/no-such-image/json").is(404).says("No such image: no-such-image");
        docker.get("/no/such/page").is(404).says("page not found");
        docker.request("POST", "/containers/create", Some(&json!({ "Image": "no-such-image" }))).is(404).says("No such image: no-such-image:latest");
    }

    fn what_is_in_the_way_is_a_conflict(docker: &Docker) {
        let id = docker.create(&["--name", "rests", "busybox", "true"]);
        let is_not_running = format!("container {id} is not running");
        docker.post("/containers/rests/kill").is(409).says(&is_not_running);
        docker.get("/containers/rests/top").is(409).says(&is_not_running);
        docker.post("/containers/rests/resize?h=1&w=1").is(409).says(&is_not_running);
        docker.request("POST", "/containers/rests/exec", Some(&json!({ "Cmd": ["true"] }))).is(409).says(&is_not_running);
        let body = json!({ "Image": "busybox", "Cmd": ["true"], "HostConfig": { "Isolation": docker.isolation() } });
        docker.request("POST", "/containers/create?name=rests", Some(&body)).is(409).says("is already in use by container");
        docker.request("POST", "/containers/create?name=other", Some(&body)).is(201);
        docker.post("/containers/rests/rename?name=other").is(409).says("is already in use by container");
    }

    fn what_cannot_be_read_is_a_bad_request(docker: &Docker) {
        docker.create(&["--name", "rests", "busybox", "true"]);
        let raw = |media_type: &str, body: &str| {
            http::request(&docker.socket(), "POST", "/containers/create", Some((media_type, body.as_bytes())))
        };
        raw("application/json", "{").is(400).says("invalid JSON");
        raw("application/json", "[]").is(400).says("invalid JSON");
        raw("application/json", r#"{"Image":3}"#).is(400).says("invalid JSON");
        raw("application/json", r#"{"Image":"busybox"} {}"#).is(400).says("unexpected content after JSON");
        raw("application/json", "").is(400);
        raw("text/plain", "{}").is(400).says("unsupported Content-Type header (text/plain): must be 'application/json'");
        let create = |body: Value| docker.request("POST", "/containers/create", Some(&body)).is(400);
        create(json!({}));
        create(json!({ "Image": "busybox", "HostConfig": { "Isolation": "vault" } })).says("nvalid isolation");
        create(json!({ "Image": "busybox", "Env": ["=x"] })).says("invalid environment variable: =x");
        create(json!({ "Image": "busybox", "StopSignal": "WHAT" })).says("WHAT");
        create(json!({ "Image": "busybox", "Healthcheck": { "Test": ["CMD", "x"], "Interval": 5 } })).says("cannot be less than 1ms");
        create(json!({ "Image": "busybox", "HostConfig": { "RestartPolicy": { "Name": "sometimes" } } })).says("unknown policy");
        for name in ["a", "-x", "no%2Fslash"] {
            let path = format!("/containers/create?name={name}");
            docker.request("POST", &path, Some(&json!({ "Image": "busybox" }))).is(400).says("Invalid container name");
        }
        docker.post("/containers/rests/kill?signal=WHAT").is(400).says("WHAT");
        docker.post("/containers/rests/wait?condition=bored").is(400).says("invalid condition: \"bored\"");
        docker.post("/containers/rests/rename").is(400).says("Neither old nor new names may be empty");
        docker.get("/containers/rests/logs").is(400).says("you must choose at least one stream");
        docker.get("/containers/json?filters=what").is(400);
        docker.get("/containers/json?limit=many").is(400);
    }

    fn versions_are_negotiated(docker: &Docker) {
        let ping = docker.get("/_ping").is(200);
        assert_eq!(ping.body, b"OK");
        assert_eq!((ping.head.header("api-version"), ping.head.header("ostype")), (Some("1.50"), Some("linux")));
        assert!(docker.request("HEAD", "/_ping", None).is(200).body.is_empty());
        for version in ["1.24", "1.41", "1.50"] {
            docker.get(&format!("/v{version}/containers/json")).is(200);
        }
        docker.get("/v1.51/containers/json").is(400).says("client version 1.51 is too new. Maximum supported API version is 1.50");
        docker.get("/v1.23/containers/json").is(400).says("client version 1.23 is too old. Minimum supported API version is 1.24");
        let mut old = docker.command(&["ps"]);
        old.env("DOCKER_API_VERSION", "1.24");
        casemate_e2e::Spawned::start(old).wait().ok();
    }

    fn an_exec_is_started_once(docker: &Docker) {
        docker.start("host", &[]);
        let exec = create_exec(docker, "host", &json!({ "Cmd": ["true"], "AttachStdout": true }));
        docker.request("POST", &format!("/exec/{exec}/start"), Some(&json!({ "Detach": true }))).is(200);
        docker.request("POST", &format!("/exec/{exec}/start"), Some(&json!({ "Detach": true }))).is(409);
        docker.request("POST", "/containers/host/exec", Some(&json!({}))).is(400).says("No exec command specified");
        docker.request("POST", "/containers/host/exec", Some(&json!({ "Cmd": [] }))).is(400).says("No exec command specified");
        docker.request("POST", "/exec/nobody/start", Some(&json!({}))).is(404).says("No such exec instance: nobody");
    }

    fn what_this_daemon_has_not_is_said(docker: &Docker) {
        docker.get("/swarm").is(503).says("This node is not a swarm manager.");
        docker.get("/services").is(503).says("This node is not a swarm manager.");
        docker.cli(&["node", "ls"]).exits(1).complains("This node is not a swarm manager.");
        assert_eq!(docker.get("/plugins").is(200).json(), json!([]));
        // It has to be read before it is answered: a client that still writes would see a broken pipe.
        for _ in 0..20 {
            docker.cli(&["volume", "create", "some"]).exits(1).complains("volumes cannot be made yet");
        }
        docker.post("/build").is(501).says("does not build images yet");
    }
}
