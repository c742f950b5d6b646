//! Datagrams.

use std::net::SocketAddr;

use tokio::net::UdpSocket;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time;

use super::{CONTAINER, address, at_last, on_a_host, publication, serve, stop};
use crate::Protocol::Udp;
use crate::published::udp::IDLE;
use crate::published::{Socket, bind::bind, udp};
use crate::{Held, Publication};

const HOST: &str = "0.0.0.0:8080";
const CLIENTS_SEE: &str = "127.0.0.1:8080";

/// Hears only what comes from where it sends to.
async fn client(to: &str) -> UdpSocket {
    let from = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(from).await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

fn container() -> UdpSocket {
    let socket = at_last(|| std::net::UdpSocket::bind(CONTAINER));
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// With room for so many clients.
fn serve_at_most(most: usize) -> JoinHandle<()> {
    let held = bind(&publication(Udp, HOST)).unwrap();
    let Socket::Udp(socket) = held.socket else { panic!("{held:?}") };
    spawn_local(udp::serve(socket, held.to, most))
}

/// Whom the container sees asking.
async fn asked(client: &UdpSocket, container: &UdpSocket, question: &[u8]) -> SocketAddr {
    client.send(question).await.unwrap();
    let mut heard = vec![0; 1 << 16];
    let (length, from) = container.recv_from(&mut heard).await.unwrap();
    assert!(heard[..length] == *question, "{length} bytes of something else");
    from
}

async fn answered(client: &UdpSocket, container: &UdpSocket, to: SocketAddr, answer: &[u8]) {
    container.send_to(answer, to).await.unwrap();
    let mut heard = vec![0; 1 << 16];
    let length = client.recv(&mut heard).await.unwrap();
    assert!(heard[..length] == *answer, "{length} bytes of something else");
}

/// To and fro.
async fn speak(client: &UdpSocket, container: &UdpSocket) -> SocketAddr {
    let from = asked(client, container, b"question").await;
    answered(client, container, from, b"answer").await;
    from
}

#[test]
fn each_client_has_its_own_answers_from_whom_it_asked() {
    on_a_host(|| async {
        let container = container();
        let _served = [serve(Udp, HOST), serve(Udp, "[::1]:8080"), serve(Udp, "127.0.0.1:9090")];
        let mut clients = Vec::new();
        // One host or another, and two clients of one.
        for to in ["127.0.0.1:8080", "127.0.0.3:8080", "127.0.0.3:8080", "[::1]:8080", "127.0.0.1:9090"] {
            let client = client(to).await;
            let from = asked(&client, &container, to.as_bytes()).await;
            clients.push((client, from, to));
        }
        for (client, from, to) in clients.iter().rev() {
            answered(client, &container, *from, to.as_bytes()).await;
            answered(client, &container, *from, b"one more").await;
        }
    });
}

/// One client may speak to several of the host's addresses.
#[test]
fn answers_know_the_address_that_was_asked() {
    on_a_host(|| async {
        let container = container();
        let _served = serve(Udp, HOST);
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut heard = [0; 16];
        for to in ["127.0.0.1:8080", "127.0.0.3:8080"] {
            client.connect(to).await.unwrap();
            speak(&client, &container).await;
        }
        client.connect("127.0.0.1:8080").await.unwrap();
        let first = asked(&client, &container, b"again").await;
        client.connect("127.0.0.3:8080").await.unwrap();
        let second = asked(&client, &container, b"again").await;
        container.send_to(b"to the second", second).await.unwrap();
        container.send_to(b"to the first", first).await.unwrap();
        assert_eq!(client.recv(&mut heard).await.unwrap(), b"to the second".len());
        client.connect("127.0.0.1:8080").await.unwrap();
        container.send_to(b"to the first", first).await.unwrap();
        assert_eq!(client.recv(&mut heard).await.unwrap(), b"to the first".len());
    });
}

#[test]
fn datagrams_are_passed_on_as_they_are() {
    on_a_host(|| async {
        let container = container();
        let _served = [serve(Udp, HOST), serve(Udp, "[::1]:8080")];
        for to in ["127.0.0.1:8080", "[::1]:8080"] {
            let client = client(to).await;
            // The longest that IPv4 has.
            for length in [0, 1, 1500, 65_507] {
                let datagram: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
                let from = asked(&client, &container, &datagram).await;
                answered(&client, &container, from, &datagram).await;
            }
        }
    });
}

#[test]
fn a_client_is_heard_as_soon_as_somebody_listens() {
    on_a_host(|| async {
        let elsewhere = "127.0.0.2:81";
        let other = Publication { to: address(elsewhere), ..publication(Udp, "0.0.0.0:8081") };
        let _served = spawn_local(Held::bind(&[publication(Udp, HOST), other]).unwrap().serve());
        let elsewhere = UdpSocket::bind(elsewhere).await.unwrap();
        let (early, other) = (client(CLIENTS_SEE).await, client("127.0.0.1:8081").await);
        early.send(b"too early").await.unwrap();
        // What came after it has been passed on, so it has been, and was refused.
        speak(&other, &elsewhere).await;
        let listening = container();
        let from = speak(&early, &listening).await;
        speak(&client(CLIENTS_SEE).await, &listening).await;
        drop(listening);
        early.send(b"too late").await.unwrap();
        speak(&other, &elsewhere).await;
        // It is not forgotten.
        answered(&early, &container(), from, b"news").await;
    });
}

#[test]
fn a_client_is_forgotten_when_it_has_been_silent() {
    on_a_host(|| async {
        let container = container();
        let _served = serve(Udp, HOST);
        let client = client(CLIENTS_SEE).await;
        let later = |duration| async move {
            time::pause();
            time::advance(duration).await;
            time::resume();
        };
        let first = speak(&client, &container).await;
        later(IDLE / 2).await;
        assert_eq!(speak(&client, &container).await, first);
        later(IDLE * 3 / 4).await;
        // Answers count as well.
        answered(&client, &container, first, b"news").await;
        later(IDLE * 3 / 4).await;
        assert_eq!(speak(&client, &container).await, first);
        later(IDLE).await;
        assert_ne!(speak(&client, &container).await, first);
    });
}

#[test]
fn where_there_is_no_room_the_one_silent_for_longest_goes() {
    on_a_host(|| async {
        let container = container();
        let _served = serve_at_most(2);
        let (a, b, c) = tokio::join!(client(CLIENTS_SEE), client(CLIENTS_SEE), client(CLIENTS_SEE));
        let (from_a, from_b) = (speak(&a, &container).await, speak(&b, &container).await);
        assert_eq!(speak(&a, &container).await, from_a);
        speak(&c, &container).await;
        assert_eq!(speak(&a, &container).await, from_a);
        assert_ne!(speak(&b, &container).await, from_b);
    });
}

#[test]
fn nothing_is_left_when_it_is_stopped() {
    on_a_host(|| async {
        let container = container();
        let served = serve(Udp, HOST);
        let client = client(CLIENTS_SEE).await;
        let from = speak(&client, &container).await;
        stop(served).await;
        // Nobody has it any more.
        at_last(|| std::net::UdpSocket::bind(HOST));
        at_last(|| std::net::UdpSocket::bind(from));
    });
}
