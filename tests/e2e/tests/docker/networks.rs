//! Networks, published ports and the firewall, as a user of Docker's client and
//! those who are around the host see them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use casemate_e2e::network::world::{HOST, METADATA, PRIVATE, PUBLIC};
use casemate_e2e::network::{Node, World, at};
use casemate_e2e::{Docker, PATIENCE, both_modes, eventually};
use serde_json::Value;

/// What has not come by then does not come: a packet takes microseconds.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(500);

/// Serves one word on a port, to whoever asks.
pub(crate) fn serving(docker: &Docker, name: &str, port: &str, options: &[&str]) -> String {
    let script = format!("while :; do echo {name} | nc -l -p {port}; done");
    let options = [&["-d", "--name", name], options, &["busybox", "sh", "-c", &script]].concat();
    docker.run(&options).ok();
    address(docker, name)
}

/// What `inspect` says of a container's end of a network.
pub(crate) fn of_network(docker: &Docker, container: &str, network: &str, field: &str) -> String {
    let networks = docker.inspect(container)["NetworkSettings"]["Networks"].clone();
    networks[network][field].as_str().expect("a text").to_owned()
}

/// On its first network.
fn address(docker: &Docker, name: &str) -> String {
    let networks = docker.inspect(name)["NetworkSettings"]["Networks"].clone();
    let first = networks.as_object().and_then(|networks| networks.values().next()).expect("a network");
    first["IPAddress"].as_str().expect("an address").to_owned()
}

/// The server may not listen yet.
#[track_caller]
fn answers(from: &Node, to: SocketAddr, word: &str) {
    eventually("an answer", PATIENCE, || match from.ask_tcp(to, A_MOMENT) {
        Ok(text) if text.trim() == word => Ok(()),
        other => Err(format!("{to}: {other:?}")),
    });
}

#[track_caller]
fn is_silent(from: &Node, to: SocketAddr) {
    if let Ok(text) = from.ask_tcp(to, A_MOMENT) {
        panic!("{to} answers {text:?}");
    }
}

/// What a container hears of one who answers with a word, or nothing.
fn heard_inside(docker: &Docker, name: &str, to: &str) -> String {
    let script = format!("nc -w 1 {to} 80 < /dev/null");
    docker.cli(&["exec", name, "sh", "-c", &script]).out().trim().to_owned()
}

/// Elements of the firewall's sets and maps.
fn rules() -> Vec<String> {
    let listed = Command::new("nft").args(["-j", "list", "ruleset"]).output().expect("nft");
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let mut elements = Vec::new();
    for object in listed["nftables"].as_array().expect("a list") {
        for set in ["set", "map"].map(|kind| &object[kind]) {
            let of_set = set["elem"].as_array().into_iter().flatten();
            elements.extend(of_set.map(|element| format!("{} {} {element}", set["family"], set["name"])));
        }
    }
    elements.sort();
    elements
}

both_modes! {
    fn there_are_builtin_ones_and_defaults(docker: &Docker) {
        let names = docker.cli(&["network", "ls", "--format", "{{.Name}} {{.Driver}}"]).ok().out();
        let mut names: Vec<&str> = names.lines().collect();
        names.sort_unstable();
        assert_eq!(names, ["bridge bridge", "host host", "none null", "sealed sealed"]);
        docker.start("one", &[]);
        let default = if docker.isolation() == "hyperv" { "sealed" } else { "bridge" };
        let inspected = docker.inspect("one");
        assert_eq!(inspected["HostConfig"]["NetworkMode"], default);
        let network = docker.get(&format!("/networks/{default}")).json();
        let id = inspected["Id"].as_str().unwrap();
        let member = &network["Containers"][id];
        assert_eq!(member["Name"], "one");
        assert_eq!(member["IPv4Address"], format!("{}/16", address(docker, "one")));
        docker.cli(&["ps", "-q", "--filter", &format!("network={default}")]).ok().prints(&format!("{}\n", &id[..12]));
        docker.cli(&["network", "rm", default]).complains("is not permitted on predefined");
    }

    /// On `bridge` the host reaches a container by its address, on any port.
    fn the_host_and_containers_of_both_kinds_reach_each_other(docker: &Docker) {
        let served = serving(docker, "served", "135", &["--network", "bridge"]);
        answers(&Node::here(), at(&served, 135), "served");
        for isolation in ["process", "hyperv"] {
            let run = ["run", "--rm", "--isolation", isolation, "--network", "bridge", "busybox", "ping", "-c", "1"];
            docker.cli(&[&run[..], &["-W", "5", &served]].concat()).ok();
            docker.cli(&[&run[..], &["-W", "5", "172.17.0.1"]].concat()).ok();
        }
    }

    fn published_ports_lead_in(docker: &Docker) {
        let world = World::new();
        let neighbour = world.host_beside();
        serving(docker, "web", "80", &["--network", "bridge", "-p", "8080:80", "-p", "127.0.0.1:8081:80"]);
        for host in [HOST[0], HOST[1]] {
            answers(neighbour, at(host, 8080), "web");
            is_silent(neighbour, at(host, 8081));
        }
        for host in ["127.0.0.1", "::1", HOST[0], HOST[1]] {
            answers(world.host(), at(host, 8080), "web");
        }
        answers(world.host(), at("127.0.0.1", 8081), "web");
        docker.cli(&["port", "web", "80"]).ok().prints("0.0.0.0:8080\n127.0.0.1:8081\n[::]:8080\n");
        let taken = docker.run(&["--rm", "-p", "8080:80", "busybox", "true"]);
        assert_eq!(taken.code, 125);
        taken.complains("Bind for 0.0.0.0:8080 failed: port is already allocated (by container web)");
        docker.cli(&["rm", "-f", "web"]).ok();
        is_silent(world.host(), at("127.0.0.1", 8080));
        is_silent(neighbour, at(HOST[0], 8080));
    }

    /// Public addresses answer, and nothing else does.
    fn sealed_containers_reach_public_addresses_only(docker: &Docker) {
        let world = World::new();
        let addresses: Vec<SocketAddr> =
            [PUBLIC[0], METADATA[0], PRIVATE[0]].iter().map(|address| at(address, 80)).collect();
        let internet = world.internet().serve("internet", &addresses);
        let _host = world.host().serve("host", &[at("0.0.0.0", 80)]);
        let open = serving(docker, "open", "80", &["--network", "bridge"]);
        let beside = serving(docker, "beside", "80", &["--network", "sealed"]);
        docker.start("sealed", &["--network", "sealed", "--cap-add", "ALL"]);
        assert_eq!(heard_inside(docker, "sealed", PUBLIC[0]), "internet");
        let gateway = "172.18.0.1";
        for silent in [METADATA[0], PRIVATE[0], HOST[0], gateway, "172.17.0.1", &open, &beside] {
            assert_eq!(heard_inside(docker, "sealed", silent), "", "{silent}");
            let ping = docker.cli(&["exec", "sealed", "ping", "-c", "1", "-W", "1", silent]);
            assert_ne!(ping.code, 0, "{silent} answers a ping");
        }
        is_silent(world.host(), at(&beside, 80));
        let heard = internet.heard();
        assert!(heard.iter().all(|heard| heard.at == addresses[0]), "{heard:?}");
        assert_eq!(heard_inside(docker, "open", PRIVATE[0]), "internet");
    }

    /// Rules come with a container, and go with it.
    fn the_firewall_has_what_containers_need_and_no_more(docker: &Docker) {
        docker.cli(&["network", "create", "net"]).ok();
        let before = rules();
        let own = |element: &String| element.contains("cm-");
        assert!(!before.iter().any(own), "{before:?}");
        docker.start("one", &["--network", "net", "-p", "8080:80"]);
        let with = rules();
        assert!(before.iter().all(|element| with.contains(element)));
        let port = with.iter().find(|element| element.contains("publish_any4")).expect("a port");
        assert!(port.contains("8080") && port.contains(&address(docker, "one")), "{port}");
        docker.cli(&["rm", "-f", "one"]).ok();
        assert_eq!(rules(), before);
        docker.cli(&["network", "rm", "net"]).ok();
    }

    /// Whoever takes the rules away, and whatever becomes of the daemon.
    fn rules_are_made_anew(docker: &Docker) {
        let served = serving(docker, "served", "80", &["--network", "bridge"]);
        answers(&Node::here(), at(&served, 80), "served");
        let before = rules();
        let flush = || assert!(Command::new("nft").args(["flush", "ruleset"]).status().unwrap().success());
        flush();
        eventually("the rules are back", Duration::from_secs(1), || match rules() == before {
            true => Ok(()),
            false => Err("others"),
        });
        docker.kill_daemon();
        answers(&Node::here(), at(&served, 80), "served");
        flush();
        docker.start_daemon();
        assert_eq!(rules(), before);
        answers(&Node::here(), at(&served, 80), "served");
    }

    fn networks_are_made_and_removed(docker: &Docker) {
        docker.cli(&["network", "create", "--subnet", "10.5.0.0/16", "--label", "a=b", "net"]).ok();
        docker.cli(&["network", "create", "net"]).complains("network with name net already exists");
        docker.cli(&["network", "create", "--subnet", "10.5.1.0/24", "in"]).complains("Pool overlaps");
        docker.start("one", &["--network", "net", "--ip", "10.5.0.77"]);
        assert_eq!(address(docker, "one"), "10.5.0.77");
        let inside = docker.cli(&["exec", "one", "ip", "-o", "-4", "addr", "show", "dev", "eth0"]).ok().out();
        assert!(inside.contains("10.5.0.77/16"), "{inside}");
        docker.cli(&["network", "rm", "net"]).complains("network net has active endpoints (name:\"one\"");
        docker.cli(&["network", "prune", "-f"]).ok().prints("");
        docker.kill_daemon();
        docker.start_daemon();
        assert_eq!(address(docker, "one"), "10.5.0.77");
        docker.cli(&["rm", "-f", "one"]).ok();
        let pruned = docker.cli(&["network", "prune", "-f", "--filter", "label=a=b"]).ok().out();
        assert_eq!(pruned.trim(), "Deleted Networks:\nnet");
        docker.get("/networks/net").is(404);
        docker.run(&["--rm", "--network", "nope", "busybox", "true"]).complains("network nope not found");
    }

    fn networks_have_ipv6(docker: &Docker) {
        let world = World::new();
        let subnets = ["--subnet", "10.6.0.0/24", "--subnet", "fd06::/64"];
        docker.cli(&[&["network", "create", "--ipv6"], &subnets[..], &["six"]].concat()).ok();
        serving(docker, "web", "80", &["--network", "six", "--ip6", "fd06::77", "-p", "8080:80"]);
        let network = docker.inspect("web")["NetworkSettings"]["Networks"]["six"].clone();
        assert_eq!((&network["GlobalIPv6Address"], &network["IPv6Gateway"]), (&"fd06::77".into(), &"fd06::1".into()));
        assert_eq!(network["GlobalIPv6PrefixLen"], 64);
        let routes = docker.cli(&["exec", "web", "ip", "-6", "route"]).ok().out();
        assert!(routes.contains("default via fd06::1 dev eth0"), "{routes}");
        docker.start("other", &["--network", "six"]);
        docker.cli(&["exec", "other", "ping", "-6", "-c", "1", "-W", "5", "fd06::77"]).ok();
        let found = docker.cli(&["exec", "other", "nslookup", "web"]).ok().out();
        assert!(found.contains("Address: fd06::77"), "{found}");
        answers(world.host_beside(), at(HOST[1], 8080), "web");
        let _internet = world.internet().serve("internet", &[at(PUBLIC[2], 80)]);
        assert_eq!(heard_inside(docker, "other", PUBLIC[2]), "internet");
        docker.cli(&["rm", "-f", "web", "other"]).ok();
        docker.cli(&["network", "rm", "six"]).ok();
    }

    /// Links, addresses, the way out, and the files that speak of them.
    fn networks_are_connected_while_it_runs(docker: &Docker) {
        for name in ["a", "b"] {
            docker.cli(&["network", "create", name]).ok();
        }
        docker.start("one", &["--network", "a"]);
        docker.start("beside", &["--network", "b"]);
        let on = |network: &str| {
            let networks = docker.inspect("one")["NetworkSettings"]["Networks"].clone();
            networks[network]["IPAddress"].as_str().map(str::to_owned)
        };
        let inside = |command: &[&str]| docker.cli(&[&["exec", "one"], command].concat()).ok().out();
        let gateway = |network: &str| {
            let inspected = docker.get(&format!("/networks/{network}")).json();
            inspected["IPAM"]["Config"][0]["Gateway"].as_str().expect("a gateway").to_owned()
        };
        let leads_out_by = |network: &str| {
            let routes = inside(&["ip", "route"]);
            let ways: Vec<&str> = routes.lines().filter(|line| line.starts_with("default")).collect();
            assert_eq!(ways.len(), 1, "{routes}");
            assert!(ways[0].contains(&gateway(network)), "{routes}");
        };
        let reaches_beside = || {
            let ping = ["ping", "-c", "1", "-W", "5", "beside"];
            docker.cli(&[&["exec", "one"], &ping[..]].concat()).code == 0
        };
        assert!(!reaches_beside());
        leads_out_by("a");
        for turn in 0..2 {
            docker.cli(&["network", "connect", "--alias", "first", "b", "one"]).ok();
            let b = on("b").expect("an address");
            assert!(inside(&["ip", "-o", "-4", "addr", "show", "dev", "eth1"]).contains(&format!("{b}/16")));
            assert!(inside(&["cat", "/etc/hosts"]).lines().any(|line| line.starts_with(&format!("{b}\t"))));
            leads_out_by("a");
            assert!(reaches_beside(), "turn {turn}");
            docker.cli(&["exec", "beside", "ping", "-c", "1", "-W", "5", "first"]).ok();
            docker.cli(&["network", "disconnect", "b", "one"]).ok();
            assert_eq!(on("b"), None);
            assert!(!inside(&["cat", "/etc/hosts"]).contains(&b));
            assert!(!reaches_beside(), "turn {turn}");
        }
        // The one that led out goes, and another does from then on, and the other way round.
        docker.cli(&["network", "connect", "b", "one"]).ok();
        docker.cli(&["network", "disconnect", "a", "one"]).ok();
        leads_out_by("b");
        docker.cli(&["network", "connect", "--gw-priority", "1", "a", "one"]).ok();
        leads_out_by("a");
        assert!(reaches_beside());
        docker.cli(&["network", "connect", "b", "one"]).complains("already exists in network b");
        docker.cli(&["rm", "-f", "one", "beside"]).ok();
        docker.cli(&["network", "rm", "a", "b"]).ok();
    }

    /// One that has no network at all has a namespace all the same.
    fn one_without_networks_is_connected(docker: &Docker) {
        docker.cli(&["network", "create", "a"]).ok();
        docker.start("one", &["--network", "none"]);
        docker.cli(&["network", "connect", "a", "one"]).complains("in private (none) mode");
        docker.cli(&["network", "disconnect", "none", "one"]).ok();
        let connected = docker.cli(&["network", "connect", "a", "one"]);
        if docker.isolation() == "hyperv" {
            // It was started without a card.
            connected.complains("no network card left");
            docker.cli(&["stop", "-t", "0", "one"]).ok();
            docker.cli(&["network", "connect", "a", "one"]).ok();
            docker.cli(&["start", "one"]).ok();
        }
        docker.cli(&["exec", "one", "ping", "-c", "1", "-W", "5", "one"]).ok();
        docker.cli(&["pause", "one"]).ok();
        let paused = docker.cli(&["network", "disconnect", "a", "one"]);
        match docker.isolation() {
            "hyperv" => paused.complains("is paused"),
            _ => paused.ok(),
        };
        docker.cli(&["unpause", "one"]).ok();
        docker.cli(&["rm", "-f", "one"]).ok();
        docker.cli(&["network", "rm", "a"]).ok();
    }

    /// It is on what it was connected to from then on, and on its own again if that is nothing.
    fn a_container_leaves_its_main_network(docker: &Docker) {
        for name in ["a", "b"] {
            docker.cli(&["network", "create", name]).ok();
        }
        docker.start("one", &["--network", "a"]);
        let networks = || {
            let inspected = docker.inspect("one");
            assert_eq!(inspected["HostConfig"]["NetworkMode"], "a");
            let networks = inspected["NetworkSettings"]["Networks"].as_object().expect("networks").clone();
            networks.keys().cloned().collect::<Vec<_>>()
        };
        docker.cli(&["network", "disconnect", "a", "one"]).ok();
        assert!(networks().is_empty());
        docker.cli(&["network", "disconnect", "-f", "a", "one"]).complains("is not connected to network a");
        docker.cli(&["network", "connect", "b", "one"]).ok();
        assert_eq!(networks(), ["b"]);
        docker.cli(&["restart", "-t", "0", "one"]).ok();
        assert_eq!(networks(), ["b"]);
        docker.cli(&["network", "disconnect", "b", "one"]).ok();
        docker.cli(&["restart", "-t", "0", "one"]).ok();
        assert_eq!(networks(), ["a"]);
        docker.cli(&["rm", "-f", "one"]).ok();
        docker.cli(&["network", "rm", "a", "b"]).ok();
    }

    fn options_that_mean_nothing_are_refused(docker: &Docker) {
        docker.start("one", &["--network", "bridge"]);
        for (options, what) in [
            (["-p", "80:80"], "port publishing and the container type network mode"),
            (["-h", "other"], "hostname and the network mode"),
            (["--dns", "192.0.2.1"], "dns and the network mode"),
            (["--add-host", "a:192.0.2.1"], "custom host-to-IP mapping and the network mode"),
        ] {
            let run = [&["--rm", "--network", "container:one"], &options[..], &["busybox", "true"]].concat();
            docker.run(&run).exits(125).complains(&format!("conflicting options: {what}"));
        }
        let linked = ["--rm", "--network", "sealed", "--link", "one:db", "busybox", "true"];
        docker.run(&linked).exits(125).complains("Cannot link to /one");
    }

    /// As long as the container runs, whatever it is connected to.
    fn ports_stay_the_same(docker: &Docker) {
        for name in ["a", "b"] {
            docker.cli(&["network", "create", name]).ok();
        }
        serving(docker, "web", "80", &["--network", "a", "-p", "80", "-p", "8080-8081:81"]);
        let ports = || docker.cli(&["port", "web"]).ok().out();
        let before = ports();
        let served: u16 = before.lines().find_map(|line| line.strip_prefix("80/tcp -> 0.0.0.0:")).unwrap().parse().unwrap();
        answers(&Node::here(), at("127.0.0.1", served), "web");
        docker.cli(&["network", "connect", "--gw-priority", "1", "b", "web"]).ok();
        assert_eq!(ports(), before);
        answers(&Node::here(), at("127.0.0.1", served), "web");
        docker.cli(&["network", "disconnect", "a", "web"]).ok();
        assert_eq!(ports(), before);
        answers(&Node::here(), at("127.0.0.1", served), "web");
        docker.cli(&["network", "disconnect", "b", "web"]).ok();
        assert_eq!(ports(), "");
        is_silent(&Node::here(), at("127.0.0.1", served));
        assert!(!rules().iter().any(|element| element.contains("cm-") || element.contains(&served.to_string())));
        docker.cli(&["rm", "-f", "web"]).ok();
        docker.cli(&["network", "rm", "a", "b"]).ok();
    }

    /// What is sent to a name is answered then, though `bridge` has no names.
    fn one_of_bridge_gets_names_when_it_is_connected(docker: &Docker) {
        docker.cli(&["network", "create", "net"]).ok();
        docker.start("web", &["--network", "net"]);
        docker.start("one", &["--network", "bridge", "--dns", "192.0.2.53"]);
        let ping = ["exec", "one", "ping", "-c", "1", "-W", "5", "web"];
        let conf = || docker.cli(&["exec", "one", "cat", "/etc/resolv.conf"]).ok().out();
        assert!(conf().starts_with("nameserver 192.0.2.53\n"));
        docker.cli(&["network", "connect", "net", "one"]).ok();
        assert!(conf().starts_with("nameserver 127.0.0.11\n"), "{}", conf());
        docker.cli(&ping).ok();
        docker.cli(&["network", "disconnect", "net", "one"]).ok();
        assert!(conf().starts_with("nameserver 192.0.2.53\n"));
        docker.cli(&["rm", "-f", "one", "web"]).ok();
        docker.cli(&["network", "rm", "net"]).ok();
    }

    fn several_networks_and_none(docker: &Docker) {
        for name in ["a", "b"] {
            docker.cli(&["network", "create", "--internal", name]).ok();
        }
        docker.start("both", &["--network", "a", "--network", "b"]);
        let networks = docker.inspect("both")["NetworkSettings"]["Networks"].clone();
        let links = docker.cli(&["exec", "both", "ip", "-o", "-4", "addr"]).ok().out();
        for (name, link) in [("a", "eth0"), ("b", "eth1")] {
            let address = networks[name]["IPAddress"].as_str().unwrap();
            let is_there = links.lines().any(|line| line.contains(link) && line.contains(&format!("{address}/")));
            assert!(is_there, "{address} of {link}: {links}");
        }
        let routes = docker.cli(&["exec", "both", "ip", "route"]).ok().out();
        assert!(!routes.contains("default"), "{routes}");
        docker.cli(&["network", "disconnect", "b", "both"]).ok();
        let networks = docker.inspect("both")["NetworkSettings"]["Networks"].clone();
        assert_eq!(networks.as_object().unwrap().keys().collect::<Vec<_>>(), ["a"]);
        docker.start("none", &["--network", "none"]);
        let links = docker.cli(&["exec", "none", "ip", "-o", "link"]).ok().out();
        assert!(!links.contains("eth0"), "{links}");
        docker.cli(&["network", "connect", "none", "both"]).complains("in private (none) mode");
        docker.cli(&["rm", "-f", "both", "none"]).ok();
        docker.cli(&["network", "rm", "a", "b"]).ok();
        assert_eq!(docker.get("/networks").json().as_array().unwrap().len(), 4);
    }
}
