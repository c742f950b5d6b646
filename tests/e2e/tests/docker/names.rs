//! Names of containers, and of others, as containers find them: the embedded
//! resolver, `/etc/hosts` and `/etc/resolv.conf`.

use casemate_e2e::network::World;
use casemate_e2e::network::world::PUBLIC;
use casemate_e2e::{Docker, PATIENCE, both_modes, eventually};

use crate::networks::of_network;

/// What a name leads to, in any order; nothing if that is nowhere.
fn looked_up(docker: &Docker, container: &str, name: &str) -> Vec<String> {
    let said = docker.cli(&["exec", container, "nslookup", name]).out();
    // The first is the server's.
    let addresses = said.lines().filter_map(|line| line.strip_prefix("Address: "));
    let mut addresses: Vec<String> = addresses.map(|address| address.trim().to_owned()).collect();
    addresses.sort_unstable();
    addresses
}

fn address(docker: &Docker, container: &str, network: &str) -> String {
    of_network(docker, container, network, "IPAddress")
}

fn file(docker: &Docker, container: &str, path: &str) -> String {
    docker.cli(&["exec", container, "cat", path]).ok().out()
}

both_modes! {
    fn containers_of_a_network_find_each_other(docker: &Docker) {
        let _world = World::new();
        docker.cli(&["network", "create", "net"]).ok();
        docker.start("client", &["--network", "net"]);
        assert!(looked_up(docker, "client", "web").is_empty());
        docker.start("web", &["--network", "net", "--network-alias", "www", "--hostname", "box"]);
        let web = address(docker, "web", "net");
        let id = docker.inspect("web")["Id"].as_str().unwrap()[..12].to_owned();
        for name in ["web", "WEB", "www", "box", &id, "web.net", "www.net"] {
            assert_eq!(looked_up(docker, "client", name), [&*web], "{name}");
        }
        assert_eq!(looked_up(docker, "web", "client"), [address(docker, "client", "net")]);
        let pointed = docker.cli(&["exec", "client", "nslookup", &web]).ok().out();
        assert!(pointed.contains("name = web.net"), "{pointed}");
        // All who are called so.
        docker.start("other", &["--network", "net", "--network-alias", "www"]);
        let mut both = [web, address(docker, "other", "net")];
        both.sort_unstable();
        assert_eq!(looked_up(docker, "client", "www"), both);
        docker.cli(&["rename", "other", "another"]).ok();
        assert_eq!(looked_up(docker, "client", "another"), [address(docker, "another", "net")]);
        docker.cli(&["rm", "-f", "web"]).ok();
        assert!(looked_up(docker, "client", "web").is_empty());
        // Who is not on the network neither knows nor is known.
        docker.start("apart", &["--network", "bridge"]);
        assert!(looked_up(docker, "client", "apart").is_empty());
        docker.cli(&["rm", "-f", "client", "another", "apart"]).ok();
        docker.cli(&["network", "rm", "net"]).ok();
    }

    /// And names outlast the daemon.
    fn names_of_others_are_asked_for_outside(docker: &Docker) {
        let world = World::new();
        let server = world.internet().serve_names(PUBLIC[1], &[("www.example", &["93.184.216.34", "2606:4700::1111"])]);
        docker.cli(&["network", "create", "net"]).ok();
        docker.start("one", &["--network", "net", "--dns", PUBLIC[1], "--dns-search", "example", "--dns-option", "ndots:1"]);
        let conf = file(docker, "one", "/etc/resolv.conf");
        assert!(conf.starts_with("nameserver 127.0.0.11\nsearch example\n"), "{conf}");
        assert_eq!(looked_up(docker, "one", "www.example"), ["2606:4700::1111", "93.184.216.34"]);
        assert!(looked_up(docker, "one", "no.example").is_empty());
        assert!(server.asked().contains(&"no.example.".to_owned()));
        docker.kill_daemon();
        docker.start_daemon();
        assert_eq!(looked_up(docker, "one", "one.net"), [address(docker, "one", "net")]);
        assert_eq!(looked_up(docker, "one", "www.example"), ["2606:4700::1111", "93.184.216.34"]);
        docker.cli(&["rm", "-f", "one"]).ok();
        docker.cli(&["network", "rm", "net"]).ok();
    }

    /// A name that anyone may own does not lead to the host or its neighbours.
    fn sealed_containers_get_public_addresses_only(docker: &Docker) {
        let world = World::new();
        let server = world.internet().serve_names(PUBLIC[1], &[
            ("rebinding.example", &["10.99.0.1", "1.1.1.1", "169.254.169.254", "127.0.0.1", "::1", "fd99::1"]),
            ("private.example", &["192.168.77.1", "::ffff:10.0.0.1"]),
        ]);
        docker.start("sealed", &["--network", "sealed", "--dns", PUBLIC[1]]);
        assert_eq!(looked_up(docker, "sealed", "rebinding.example"), ["1.1.1.1"]);
        assert!(looked_up(docker, "sealed", "private.example").is_empty());
        docker.start("open", &["--network", "bridge", "--dns", PUBLIC[1]]);
        assert_eq!(looked_up(docker, "open", "private.example"), ["192.168.77.1", "::ffff:10.0.0.1"].map(String::from));
        docker.cli(&["rm", "-f", "sealed", "open"]).ok();
        // What reaches nothing asks nobody; what reaches a range may know who is there.
        let asked = server.asked().len();
        let driver_option = |egress: &str| format!("name=sealed,driver-opt=io.casemate.egress={egress}");
        docker.start("none", &["--network", &driver_option("none"), "--dns", PUBLIC[1]]);
        assert!(looked_up(docker, "none", "rebinding.example").is_empty());
        assert_eq!(server.asked().len(), asked);
        docker.start("some", &["--network", &driver_option("10.99.0.0/16"), "--dns", PUBLIC[1]]);
        assert_eq!(looked_up(docker, "some", "rebinding.example"), ["10.99.0.1"]);
    }

    fn internal_networks_ask_nobody_outside(docker: &Docker) {
        let world = World::new();
        let server = world.internet().serve_names(PUBLIC[1], &[("www.example", &["93.184.216.34"])]);
        docker.cli(&["network", "create", "--internal", "inside"]).ok();
        docker.start("one", &["--network", "inside", "--dns", PUBLIC[1]]);
        assert!(looked_up(docker, "one", "www.example").is_empty());
        assert_eq!(looked_up(docker, "one", "one"), [address(docker, "one", "inside")]);
        assert!(server.asked().is_empty());
        docker.cli(&["rm", "-f", "one"]).ok();
        docker.cli(&["network", "rm", "inside"]).ok();
    }

    /// Its resolver, which it can still ask, tells one that has no network any more nothing.
    fn disconnected_it_finds_nobody(docker: &Docker) {
        let world = World::new();
        let server = world.internet().serve_names(PUBLIC[1], &[("www.example", &["93.184.216.34"])]);
        docker.cli(&["network", "create", "net"]).ok();
        docker.start("web", &["--network", "net"]);
        docker.start("one", &["--network", "net", "--dns", PUBLIC[1]]);
        let ask = |name: &str| docker.cli(&["exec", "one", "nslookup", name, "127.0.0.11"]).out();
        assert!(ask("www.example").contains("93.184.216.34"));
        docker.cli(&["network", "disconnect", "net", "one"]).ok();
        let asked = server.asked().len();
        assert!(!ask("www.example").contains("93.184.216.34"));
        assert!(!ask("web").contains("Address: 172."));
        assert_eq!(server.asked().len(), asked);
        docker.cli(&["rm", "-f", "one", "web"]).ok();
        docker.cli(&["network", "rm", "net"]).ok();
    }

    /// The resolver keeps no VM from shutting down.
    fn an_end_is_told_at_once(docker: &Docker) {
        docker.cli(&["network", "create", "net"]).ok();
        docker.start("one", &["--network", "net"]);
        looked_up(docker, "one", "one");
        let killed = std::time::Instant::now();
        docker.cli(&["kill", "one"]).ok();
        docker.cli(&["wait", "one"]).ok().prints("137\n");
        // What a guest that does not shut down is given.
        assert!(killed.elapsed() < std::time::Duration::from_secs(9), "{:?}", killed.elapsed());
        docker.cli(&["rm", "one"]).ok();
        docker.cli(&["network", "rm", "net"]).ok();
    }

    /// A container may be a name server itself.
    fn the_resolver_leaves_the_container_its_port(docker: &Docker) {
        docker.cli(&["network", "create", "net"]).ok();
        docker.start("one", &["--network", "net"]);
        docker.cli(&["exec", "-d", "one", "nc", "-l", "-p", "53", "-e", "echo", "mine"]).ok();
        let own = address(docker, "one", "net");
        eventually("an answer of its own", PATIENCE, || {
            let said = docker.cli(&["exec", "one", "sh", "-c", &format!("nc {own} 53 < /dev/null")]).out();
            if said.trim() == "mine" { Ok(()) } else { Err(said) }
        });
        assert_eq!(looked_up(docker, "one", "one"), [own]);
        docker.cli(&["rm", "-f", "one"]).ok();
        docker.cli(&["network", "rm", "net"]).ok();
    }

    fn links_are_names_for_one_alone(docker: &Docker) {
        docker.cli(&["network", "create", "net"]).ok();
        docker.start("store", &["--network", "net"]);
        docker.start("linked", &["--network", "net", "--link", "store:db"]);
        docker.start("other", &["--network", "net"]);
        let store = address(docker, "store", "net");
        assert_eq!(looked_up(docker, "linked", "db"), [&*store]);
        assert!(looked_up(docker, "other", "db").is_empty());
        docker.cli(&["rm", "-f", "linked", "store"]).ok();
        docker.start("store", &["--network", "bridge"]);
        docker.start("linked", &["--network", "bridge", "--link", "store:db"]);
        let hosts = file(docker, "linked", "/etc/hosts");
        let store = address(docker, "store", "bridge");
        assert!(hosts.lines().any(|line| line.starts_with(&format!("{store}\tdb "))), "{hosts}");
        docker.cli(&["rm", "-f", "linked", "store", "other"]).ok();
        docker.cli(&["network", "rm", "net"]).ok();
    }
}
