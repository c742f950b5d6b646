//! What the firewall keeps apart: of a container that its image's author has taken
//! over, with all the rights it can have, and beside firewalls that are the host's.

use std::net::SocketAddr;
use std::process::Command;

use casemate_e2e::network::world::{HOST, METADATA, PRIVATE, PUBLIC};
use casemate_e2e::network::{Node, World, at};
use casemate_e2e::{Docker, PATIENCE, both_modes, eventually};

use crate::networks::{A_MOMENT, of_network, serving};

/// All that a container can be given without being privileged.
const ALL: [&str; 2] = ["--cap-add", "ALL"];

fn answers(from: &Node, to: SocketAddr) -> bool {
    from.ask_tcp(to, A_MOMENT).is_ok_and(|said| !said.is_empty())
}

#[track_caller]
fn comes_to_answer(from: &Node, to: SocketAddr) {
    eventually("an answer", PATIENCE, || if answers(from, to) { Ok(()) } else { Err(to) });
}

/// In the container, as its root; whether all of it went well.
fn inside(docker: &Docker, name: &str, script: &str) -> bool {
    docker.cli(&["exec", name, "sh", "-c", script]).code == 0
}

fn nft(rules: &str) {
    let done = Command::new("nft").arg(rules).status().expect("nft");
    assert!(done.success(), "{rules}");
}

both_modes! {
    /// Neither is heard under another's address, nor do others speak to it for theirs.
    fn a_container_cannot_be_another(docker: &Docker) {
        let _world = World::new();
        serving(docker, "victim", "80", &["--network", "bridge"]);
        docker.start("attacker", &[&["--network", "bridge"], &ALL[..]].concat());
        let (victim, attacker) = ("victim", "attacker");
        let address = of_network(docker, victim, "bridge", "IPAddress");
        comes_to_answer(&Node::here(), at(&address, 80));
        assert!(inside(docker, attacker, "ping -c 1 -W 5 172.17.0.1"));
        // It says that the victim's address is its own, to all and to the host.
        let claim = format!(
            "ip address add {address}/32 dev eth0 && arping -q -c 3 -U -I eth0 {address};
             arping -q -c 3 -A -I eth0 {address}; arping -q -c 1 -w 1 -s {address} -I eth0 172.17.0.1; true"
        );
        assert!(inside(docker, attacker, &claim));
        assert!(answers(&Node::here(), at(&address, 80)));
        assert!(!inside(docker, attacker, &format!("ping -c 1 -W 1 -I {address} 172.17.0.1")));
        assert!(inside(docker, attacker, &format!("ip address del {address}/32 dev eth0")));
        // And its hardware address.
        let (mac, own) = (of_network(docker, victim, "bridge", "MacAddress"), of_network(docker, attacker, "bridge", "MacAddress"));
        let become_other = |mac: &str| format!("ip link set eth0 down && ip link set eth0 address {mac} && ip link set eth0 up && ip route add default via 172.17.0.1");
        assert!(inside(docker, attacker, &become_other(&mac)));
        assert!(!inside(docker, attacker, "ping -c 1 -W 1 172.17.0.1"));
        assert!(answers(&Node::here(), at(&address, 80)));
        assert!(inside(docker, attacker, &become_other("02:42:00:11:22:33")));
        assert!(!inside(docker, attacker, "ping -c 1 -W 1 172.17.0.1"));
        assert!(inside(docker, attacker, &become_other(&own)));
        assert!(inside(docker, attacker, "ping -c 1 -W 5 172.17.0.1"));
    }

    /// Whatever addresses and routes its root makes up, of either family.
    fn a_sealed_container_cannot_open_itself(docker: &Docker) {
        let world = World::new();
        let inner: Vec<SocketAddr> = [PRIVATE[0], METADATA[0], PUBLIC[0]].iter().map(|address| at(address, 80)).collect();
        let internet = world.internet().serve("internet", &inner);
        let _host = world.host().serve("host", &[at("0.0.0.0", 80), at("::", 81)]);
        serving(docker, "beside", "80", &["--network", "sealed"]);
        serving(docker, "open", "80", &["--network", "bridge"]);
        docker.start("one", &[&["--network", "sealed"], &ALL[..]].concat());
        let hears = |to: &str| inside(docker, "one", &format!("nc -w 1 {to} 80 < /dev/null | grep -q ."));
        assert!(hears(PUBLIC[0]));
        let beside = of_network(docker, "beside", "sealed", "IPAddress");
        let open = of_network(docker, "open", "bridge", "IPAddress");
        let own = of_network(docker, "one", "sealed", "IPAddress");
        let mac = of_network(docker, "beside", "sealed", "MacAddress");
        let all = [&*beside, &open, HOST[0], "172.17.0.1", "172.18.0.1", PRIVATE[0], METADATA[0]].join(" ");
        // At once, since each takes its second.
        let ask = format!(
            "for to in {all}; do
                 (nc -w 1 $to 80 < /dev/null | grep -q . && echo $to) &
                 (ping -q -c 1 -W 1 $to > /dev/null && echo $to) &
             done; wait"
        );
        let silent = || docker.cli(&["exec", "one", "sh", "-c", &ask]).ok().prints("");
        silent();
        // Ways that it makes itself: a neighbour that it need not ask for, and a network that is all the world.
        assert!(inside(docker, "one", &format!("ip neigh add {beside} lladdr {mac} dev eth0 nud permanent || arp -s {beside} {mac}")));
        silent();
        assert!(inside(docker, "one", "ip route add 10.0.0.0/8 dev eth0; ip route add 172.16.0.0/12 dev eth0; true"));
        silent();
        // Addresses of the host's and of others.
        for address in ["172.17.0.99/16", "192.0.2.77/24", "172.18.0.99/16"] {
            assert!(inside(docker, "one", &format!("ip address add {address} dev eth0")), "{address}");
            silent();
            assert!(inside(docker, "one", &format!("ip address del {address} dev eth0")), "{address}");
        }
        // IPv6, of which the network has none.
        assert!(inside(docker, "one", "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6 || mount -o remount,rw /proc/sys && echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6"));
        assert!(inside(docker, "one", "ip -6 address add fd00::77/64 dev eth0 nodad || ip -6 address add fd00::77/64 dev eth0"));
        for to in ["ff02::1", "ff02::2"] {
            assert!(!inside(docker, "one", &format!("ping -6 -c 1 -W 1 -I eth0 {to}")), "{to}");
        }
        // Who asks for an address by DHCP gets none.
        assert!(!inside(docker, "one", "udhcpc -n -q -t 1 -T 1 -i eth0 -s /bin/true"));
        assert!(internet.heard().iter().all(|heard| heard.at == inner[2]), "{:?}", internet.heard());
        assert!(!answers(world.host(), at(&own, 80)));
        assert!(hears(PUBLIC[0]));
    }

    /// What the host's own firewall drops stays dropped: published ports are
    /// forwarded, so that is where it is asked.
    fn what_the_host_denies_is_not_opened(docker: &Docker) {
        let world = World::new();
        let neighbour = world.host_beside();
        let _internet = world.internet().serve("internet", &[at(PUBLIC[0], 80)]);
        serving(docker, "web", "80", &["--network", "bridge", "-p", "8080:80"]);
        let published = at(HOST[0], 8080);
        comes_to_answer(neighbour, published);
        let hears = || inside(docker, "web", &format!("nc -w 1 {} 80 < /dev/null | grep -q .", PUBLIC[0]));
        assert!(hears());
        // As ufw has it: nothing comes in, nothing is passed on, but answers and loopback.
        nft("add table inet host
             add chain inet host input { type filter hook input priority filter; policy drop; }
             add rule inet host input iifname lo accept
             add rule inet host input ct state established,related accept
             add chain inet host forward { type filter hook forward priority filter; policy drop; }
             add rule inet host forward ct state established,related accept");
        assert!(!answers(neighbour, published));
        assert!(!hears());
        assert!(answers(world.host(), at("127.0.0.1", 8080)));
        // A start does not open it.
        serving(docker, "other", "80", &["--network", "bridge", "-p", "8081:80"]);
        comes_to_answer(world.host(), at("127.0.0.1", 8081));
        assert!(!answers(neighbour, at(HOST[0], 8081)));
        // What the host lets pass does.
        nft("add rule inet host forward ct status dnat accept");
        comes_to_answer(neighbour, published);
        nft("add rule inet host forward iifname casemate0 accept");
        assert!(hears());
        nft("delete table inet host");
    }
}
