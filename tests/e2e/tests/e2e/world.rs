//! The network that tests have: theirs alone, and what they ask to be around it
//! answers.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use casemate_e2e::network::world::{HOST, HOST_PUBLIC, METADATA, NEIGHBOUR, PRIVATE, PUBLIC};
use casemate_e2e::network::{Heard, Node, Protocol, Server, World, at};
use casemate_e2e::{Engine, Isolation, PATIENCE, host, modes};

/// What has not come by then does not come: a packet takes microseconds.
const A_MOMENT: Duration = Duration::from_millis(300);

fn in_world(body: impl FnOnce(&Engine, &World)) {
    modes::in_mode(Isolation::Process, |engine: &Engine| body(engine, &World::new()));
}

fn namespace(process: &str) -> PathBuf {
    fs::read_link(format!("/proc/{process}/ns/net")).unwrap()
}

/// By all means, and the server knows who it was.
#[track_caller]
fn reaches(from: &Node, server: &Server, text: &str, to: SocketAddr, seen_as: [&str; 2]) {
    assert_eq!(from.ask_tcp(to, PATIENCE).unwrap(), text, "{to}");
    assert_eq!(from.ask_udp(to, PATIENCE).unwrap(), text, "{to}");
    from.ping(to.ip(), PATIENCE).unwrap();
    let seen_as: IpAddr = seen_as[usize::from(to.is_ipv6())].parse().unwrap();
    let heard = server.heard();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let is_it = |heard: &Heard| (heard.protocol, heard.at, heard.from.ip()) == (protocol, to, seen_as);
        assert!(heard.iter().any(is_it), "{protocol:?} from {seen_as} to {to} is not among {heard:?}");
    }
}

#[test]
fn each_test_is_alone_in_its_network() {
    modes::in_mode(Isolation::Process, |engine: &Engine| {
        let own = namespace("thread-self");
        assert_ne!(own, namespace("self"));
        engine.start_daemon();
        assert_eq!(own, namespace(&engine.daemon_pid().to_string()));
        assert_eq!(host::links().into_iter().collect::<Vec<_>>(), ["lo"]);
        // Nothing leads elsewhere, and loopback to itself.
        let elsewhere = Node::here().ask_tcp(at("192.0.2.2", 80), A_MOMENT).unwrap_err();
        assert_eq!(elsewhere.raw_os_error(), Some(rustix::io::Errno::NETUNREACH.raw_os_error()), "{elsewhere}");
        let addresses = [at("127.0.0.1", 80), at("::1", 80)];
        let server = Node::here().serve("here", &addresses);
        for to in addresses {
            reaches(&Node::here(), &server, "here", to, ["127.0.0.1", "::1"]);
        }
    });
}

#[test]
fn the_internet_answers() {
    in_world(|_, world| {
        let all = [&PUBLIC[..], &METADATA, &PRIVATE].concat();
        let all: Vec<SocketAddr> = all.into_iter().map(|address| at(address, 80)).collect();
        let server = world.internet().serve("internet", &all);
        for to in all {
            reaches(world.host(), &server, "internet", to, HOST_PUBLIC);
        }
    });
}

#[test]
fn the_neighbour_answers_and_asks() {
    in_world(|_, world| {
        let [there, here] = [NEIGHBOUR, HOST].map(|addresses| addresses.map(|address| at(address, 80)));
        let neighbour = world.host_beside().serve("neighbour", &there);
        for to in there {
            reaches(world.host(), &neighbour, "neighbour", to, HOST);
        }
        let host = world.host().serve("host", &here);
        for to in here {
            reaches(world.host_beside(), &host, "host", to, NEIGHBOUR);
        }
    });
}

/// Both are links of the host's, which passes on what it is told to.
#[test]
fn the_neighbour_gets_further_if_the_host_forwards() {
    in_world(|_, world| {
        let to = PUBLIC.map(|address| at(address, 80));
        let server = world.internet().serve("internet", &to);
        for to in to {
            assert!(world.host_beside().ask_tcp(to, A_MOMENT).is_err());
            assert!(world.host_beside().ask_udp(to, A_MOMENT).is_err());
            assert!(world.host_beside().ping(to.ip(), A_MOMENT).is_err());
        }
        assert_eq!(server.heard(), []);
        world.host().set("ipv4/ip_forward", "1");
        world.host().set("ipv6/conf/all/forwarding", "1");
        for to in to {
            reaches(world.host_beside(), &server, "internet", to, NEIGHBOUR);
        }
    });
}

/// What a test asks for is no leak, and gone with it.
#[test]
fn it_leaves_nothing() {
    modes::in_mode(Isolation::Process, |engine: &Engine| {
        let world = World::new();
        world.internet();
        world.host_beside();
        assert_eq!(host::links().len(), 3);
        engine.leaks().check();
        let server = world.host().serve("host", &[at("127.0.0.1", 80)]);
        drop(server);
        Node::here().ask_tcp(at("127.0.0.1", 80), PATIENCE).expect_err("nobody listens");
        drop(world);
        assert_eq!(host::links().into_iter().collect::<Vec<_>>(), ["lo"]);
    });
}
