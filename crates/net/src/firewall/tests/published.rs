//! Ports that are served on the host, for those whom no rule leads to the container.

use std::net::SocketAddrV6;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use super::bed::{Bed, HOST, HOST_TOO, link_local, network};
use super::calls::{Call, PORT, index, published};
use super::frames::hardware_address;
use crate::Egress;
use crate::Held;
use crate::firewall::Reach;
use crate::testbed::Node;
use crate::{Protocol, Publication};

/// While the host holds what is published, as it does for a container that runs.
fn while_served(host: &Node, publications: &[Publication], body: impl FnOnce()) {
    let (end, ended) = oneshot::channel::<()>();
    let (ready, is_ready) = mpsc::channel();
    let serve = async move || {
        let held = Held::bind(publications).unwrap();
        ready.send(()).unwrap();
        tokio::select! {
            () = held.serve() => {}
            _ = ended => {}
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| host.run(|runtime| runtime.block_on(serve())));
        is_ready.recv().unwrap();
        body();
        drop(end);
    });
}

#[test]
fn sealed_containers_are_reached_by_loopback_addresses_and_by_the_other_family() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Sealed)]) else { return };
    let [a, b] = [2, 3].map(|number| bed.container(1, number, Egress::default()));
    bed.publish("127.0.0.1", 8080, &a);
    bed.publish("::1", 8080, &a);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let to = format!("{}:{PORT}", a.v4).parse().unwrap();
        bed.policy.publications.push(Publication { protocol, host: "[::]:9090".parse().unwrap(), to });
    }
    bed.apply();
    // The host's, of its link to the remote node.
    let host = hardware_address(&bed.host, "lan").map(|octet| format!("{octet:02x}")).join(":");
    let by_link = link_local(host.parse().unwrap());
    let by_link = SocketAddrV6::new(by_link, 9090, 0, index(&bed.remote, "eth0")).into();
    while_served(&bed.host, &bed.policy.publications, || {
        bed.either_way(|| {
            for (address, port) in [("127.0.0.1", 8080), ("::1", 8080), ("::1", 9090), (HOST[1], 9090)] {
                bed.heard(&bed.host, &a.name, &published(address, port));
            }
            // Each answers from where it was asked.
            for address in [HOST[1], HOST_TOO[1]] {
                bed.heard(&bed.remote, &a.name, &published(address, 9090));
            }
            bed.heard(&bed.remote, &a.name, &[Call::Tcp(by_link), Call::Udp(by_link)]);
            bed.unheard(&bed.remote, &[published(HOST[0], 8080), published(HOST[1], 8080)].concat());
            for address in [HOST[1], "fd01::1"] {
                bed.unheard(&b.node, &published(address, 9090));
            }
        });
    });
}
