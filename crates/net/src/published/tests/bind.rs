//! Whose a port is.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use casemate_model::{Classify, ErrorClass};

use super::{at_last, on_a_host, publication};
use crate::Protocol::{Sctp, Tcp, Udp};
use crate::published::bind::bind;
use crate::{BindError, Held};

/// A socket of each, and the ports that it is in the way of.
#[test]
fn a_conflict_names_the_holder_and_leaves_nothing_bound() {
    on_a_host(|| async {
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let by = format!("(held by {}, process {})", name.trim_end(), std::process::id());
        for (protocol, taken, wanted) in [
            (Tcp, "127.0.0.1:8081", "127.0.0.1:8081"),
            (Tcp, "127.0.0.1:8081", "0.0.0.0:8081"),
            (Tcp, "0.0.0.0:8081", "127.0.0.1:8081"),
            // Without a word about it, this is IPv4 as well.
            (Tcp, "[::]:8081", "127.0.0.1:8081"),
            (Tcp, "[::ffff:127.0.0.1]:8081", "0.0.0.0:8081"),
            (Tcp, "[::1]:8081", "[::]:8081"),
            (Udp, "127.0.0.1:8081", "0.0.0.0:8081"),
            (Udp, "[::]:8081", "0.0.0.0:8081"),
            (Udp, "[::]:8081", "[::1]:8081"),
        ] {
            let holder: OwnedFd = match protocol {
                Tcp => at_last(|| TcpListener::bind(taken)).into(),
                _ => at_last(|| UdpSocket::bind(taken)).into(),
            };
            let all = [publication(Tcp, "0.0.0.0:8080"), publication(Udp, "[::]:8080"), publication(protocol, wanted)];
            let expected =
                format!("failed to bind host port {wanted}/{}: address already in use {by}", protocol.name());
            at_last(|| match Held::bind(&all) {
                Err(error) if (error.to_string(), error.class()) == (expected.clone(), ErrorClass::Conflict) => Ok(()),
                other => Err(other),
            });
            at_last(|| TcpListener::bind("0.0.0.0:8080"));
            at_last(|| UdpSocket::bind("[::]:8080"));
            drop(holder);
            at_last(|| Held::bind(&all));
        }
    });
}

#[test]
fn the_holder_may_be_any_process() {
    on_a_host(|| async {
        let listener = OwnedFd::from(TcpListener::bind("0.0.0.0:8080").unwrap());
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::from(listener)).spawn().unwrap();
        let held_by = format!("(held by sleep, process {})", child.id());
        at_last(|| match Held::bind(&[publication(Tcp, "0.0.0.0:8080")]) {
            Err(error) if error.to_string().ends_with(&held_by) => Ok(()),
            other => Err(other),
        });
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn each_protocol_family_and_address_is_held_by_itself() {
    on_a_host(|| async {
        let hosts = ["0.0.0.0:8080", "[::]:8080", "127.0.0.1:8081", "127.0.0.2:8081", "[::1]:8081"];
        let all = hosts.map(|host| [Tcp, Udp].map(|protocol| publication(protocol, host))).concat();
        let held = Held::bind(&all).unwrap();
        for host in hosts {
            assert_eq!(TcpListener::bind(host).unwrap_err().kind(), ErrorKind::AddrInUse);
            assert_eq!(UdpSocket::bind(host).unwrap_err().kind(), ErrorKind::AddrInUse);
        }
        // Another network's.
        Held::bind(&[publication(Tcp, "0.0.0.0:9090")]).unwrap();
        drop(held);
        for host in hosts {
            at_last(|| TcpListener::bind(host));
            at_last(|| UdpSocket::bind(host));
        }
    });
}

#[test]
fn an_address_that_the_host_does_not_have_is_none_of_its_own() {
    on_a_host(|| async {
        let error = Held::bind(&[publication(Udp, "10.1.2.3:8080")]).unwrap_err();
        let expected = "failed to bind host port 10.1.2.3:8080/udp: cannot assign requested address";
        assert_eq!((&*error.to_string(), error.class()), (expected, ErrorClass::Unavailable));
    });
}

/// Where the kernel has it. Where it has not, that is said.
#[test]
fn a_port_of_sctp_is_held() {
    on_a_host(|| async {
        let wanted = publication(Sctp, "0.0.0.0:8080");
        let has_sctp = fs::exists("/proc/thread-self/net/sctp").unwrap();
        match bind(&wanted) {
            Ok(_held) => {
                let error = bind(&wanted).unwrap_err();
                let expected = "failed to bind host port 0.0.0.0:8080/sctp: address already in use";
                assert_eq!((&*error.to_string(), error.class()), (expected, ErrorClass::Conflict));
            }
            Err(error) => {
                assert!(!has_sctp && matches!(error, BindError::NoSctp { .. }), "{error}");
                let expected = "failed to bind host port 0.0.0.0:8080/sctp: the host's kernel has no SCTP";
                assert_eq!((&*error.to_string(), error.class()), (expected, ErrorClass::Unavailable));
            }
        }
    });
}
