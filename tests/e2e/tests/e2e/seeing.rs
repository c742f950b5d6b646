//! `ports` and `firewall`: what of a container's network its user is shown.

use std::net::TcpStream;
use std::process::Command;

use casemate_e2e::{Engine, PATIENCE, both_modes, eventually};
use serde_json::{Value, json};

/// Serves on port 135, where the host reaches it. Returns its address.
fn serving(engine: &Engine, name: &str, options: &[&str]) -> String {
    let run = [&["--detach", "--name", name, "--network", "bridge"], options, &["busybox", "httpd", "-f", "-p", "135"]];
    engine.run(&run.concat()).ok();
    let inspected = engine.container(name).inspect();
    inspected["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().expect("an address").to_owned()
}

fn shown(engine: &Engine, what: &[&str]) -> Value {
    let out = engine.cli(&[what, &["--json"]].concat()).ok().out();
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Of a container's list the entry with these, when it is there.
#[track_caller]
fn entry(engine: &Engine, name: &str, list: &str, of: &[(&str, Value)]) -> Value {
    eventually("it is shown", PATIENCE, || {
        let container = shown(engine, &["ports", name])["Containers"][0].take();
        assert_eq!((&container["Name"], &container["Error"]), (&json!(name), &Value::Null), "{container}");
        let entries = container[list].as_array().expect("a list");
        let is_it = |entry: &&Value| of.iter().all(|(field, value)| entry[*field] == *value);
        entries.iter().find(is_it).cloned().ok_or_else(|| format!("{list} without {of:?}: {container}"))
    })
}

/// Whether the kernel has the element of a rule.
fn is_set(rule: &Value) -> bool {
    let syntax = rule["Syntax"].as_str().expect("text").strip_prefix("add ").expect("an element");
    Command::new("nft").args(["get", syntax]).output().expect("nft").status.success()
}

both_modes! {
    fn listeners_publications_and_connections_are_shown(engine: &Engine) {
        let address = serving(engine, "web", &["-p", "127.0.0.1:8135:135", "-p", "127.0.0.1:8136:136"]);
        let listens = entry(engine, "web", "Listening", &[("Protocol", json!("tcp")), ("Port", json!(135))]);
        assert_eq!(listens["Process"], "httpd", "{listens}");
        let top = engine.cli(&["top", "web", "-o", "pid,comm"]).ok().out();
        assert!(top.contains(&listens["Pid"].to_string()), "{listens}: {top}");

        let published = |host: u16, inside: u16, listening: bool| {
            json!({
                "Protocol": "tcp", "HostIp": "127.0.0.1", "HostPort": host, "Ip": address, "Port": inside,
                "Listening": listening,
            })
        };
        for expected in [published(8135, 135, true), published(8136, 136, false)] {
            assert_eq!(entry(engine, "web", "Published", &[("HostPort", expected["HostPort"].clone())]), expected);
        }

        let client = TcpStream::connect((address.as_str(), 135)).expect("the container answers");
        let port = json!(client.local_addr().unwrap().port());
        let connected = entry(engine, "web", "Connections", &[("PeerPort", port.clone())]);
        assert_eq!((&connected["Direction"], &connected["Port"]), (&json!("in"), &json!(135)), "{connected}");
        // Who is its own peer is no stranger.
        let to_itself = "sleep 1000 | nc 127.0.0.1 135";
        engine.cli(&["exec", "-d", "web", "sh", "-c", to_itself]).ok();
        eventually("it calls itself", PATIENCE, || {
            let counted = engine.cli(&["exec", "web", "netstat", "-tn"]).ok().out();
            if counted.contains("127.0.0.1:135") { Ok(()) } else { Err(counted) }
        });
        let all = shown(engine, &["ports"])["Containers"][0].take();
        assert_eq!(all["Connections"].as_array().map(Vec::len), Some(1), "{all}");

        let table = engine.cli(&["ports", "web"]).ok().out();
        for (state, end) in [
            ("listening", ":135 "),
            ("published ", "127.0.0.1:8135"),
            ("published, nobody listens", "127.0.0.1:8136"),
            ("connected from", &format!(":{port} ")),
        ] {
            assert!(table.lines().any(|line| line.contains(state) && line.contains(end)), "{state} {end}: {table}");
        }
        drop(client);
        engine.cli(&["rm", "-f", "web"]).ok();
        engine.cli(&["ports", "web"]).exits(1).complains("No such container: web");
        assert_eq!(shown(engine, &["ports"]), json!({ "Containers": [] }));
    }

    fn who_does_not_run_has_no_ports_and_no_rules(engine: &Engine) {
        engine.cli(&["create", "--isolation", engine.isolation.as_str(), "--name", "box", "busybox"]).ok();
        engine.cli(&["ports", "box"]).exits(1).complains("is not running");
        let out = engine.cli(&["firewall", "box"]).ok().out();
        assert!(out.contains("box") && out.contains("does not run: there are no rules"), "{out}");
        assert_eq!(shown(engine, &["firewall", "box"])["Containers"][0]["Rules"], json!([]));
        engine.cli(&["firewall", "nobody"]).exits(1).complains("No such container: nobody");
    }

    /// Nothing leads to a container in a VM if nobody asked for it.
    fn rules_are_shown_with_their_reasons_and_go_with_their_container(engine: &Engine) {
        engine.start("box", &[]);
        let seen = shown(engine, &["firewall", "box"]);
        assert_eq!((&seen["State"], &seen["Networks"], &seen["Rules"]), (&json!("held"), &json!([]), &json!([])));
        let container = &seen["Containers"][0];
        let (network, rules) = (&container["Networks"][0], container["Rules"].as_array().expect("a list"));
        assert_eq!(container["Published"], json!([]));
        let all = |field: &str| rules.iter().map(|rule| rule[field].as_str().expect("text")).collect::<Vec<_>>().join("\n");
        assert!(!all("Words").contains("leads to") && !all("Syntax").contains("publish"), "{container}");
        let out = engine.cli(&["firewall", "box"]).ok().out();
        assert!(out.ends_with("The kernel has these rules.\n"), "{out}");
        if engine.is_hyperv() {
            assert_eq!(network["Name"], "sealed");
            let reaches = json!({ "Host": "none", "Containers": false, "Public": true, "Private": false, "Ranges": [] });
            assert_eq!(network["Reaches"], reaches);
            assert_eq!(network["ReachedBy"], json!({ "Host": false, "Containers": false }));
            assert!(out.contains("reaches public addresses\n") && out.contains("is reached by nobody\n"), "{out}");
        } else {
            assert_eq!(network["Name"], "bridge");
            assert!(out.contains("is reached by the host, containers on bridge\n"), "{out}");
        }
        assert!(!rules.is_empty());
        for rule in rules {
            assert!(is_set(rule), "{rule}");
        }
        let of_all = shown(engine, &["firewall"]);
        let names: Vec<&Value> = of_all["Networks"].as_array().unwrap().iter().map(|network| &network["Name"]).collect();
        assert_eq!(names, ["bridge", "sealed"]);
        engine.cli(&["rm", "-f", "box"]).ok();
        for rule in rules {
            assert!(!is_set(rule), "{rule}");
        }
        let after = shown(engine, &["firewall"]);
        assert_eq!((&after["State"], &after["Containers"]), (&json!("held"), &json!([])));
    }

    fn the_hosts_ports_are_not_a_containers(engine: &Engine) {
        if engine.is_hyperv() {
            return;
        }
        engine.start("box", &["--network", "host"]);
        let out = engine.cli(&["ports", "box"]).ok().out();
        assert!(out.contains("box: has the host's network"), "{out}");
        assert_eq!(shown(engine, &["ports", "box"])["Containers"][0]["Listening"], json!([]));
        let out = engine.cli(&["firewall", "box"]).ok().out();
        assert!(out.contains("has the host's network: no rule is about it"), "{out}");
    }
}
