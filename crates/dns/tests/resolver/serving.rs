//! The resolver behind sockets.

use std::net::SocketAddr;
use std::rc::Rc;

use casemate_dns::CONNECTIONS;
use hickory_proto::op::{MessageType, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_local;

use crate::client::{Client, receive, send};
use crate::server::{Reply, Server, answer};
use crate::setup::{Loopback, Table, TestResolver, data, host, query, run, settings};

fn resolver(server: &Server) -> Rc<TestResolver> {
    let names = Table::of(&[("web", &["172.18.0.2"])]);
    Rc::new(TestResolver::new(names, Loopback::default(), settings(vec![host(server.address)])))
}

async fn serve_udp(resolver: Rc<TestResolver>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    spawn_local(async move { resolver.serve_udp(&socket).await });
    address
}

async fn serve_tcp(resolver: Rc<TestResolver>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move { resolver.serve_tcp(&listener).await });
    address
}

#[test]
fn datagrams_do_not_wait_for_each_other() {
    run(async {
        let server = Server::start(|asked| match asked.message.queries[0].name().to_ascii().as_str() {
            "slow.example." => Reply::default(),
            _ => answer(asked, &["9.9.9.9".parse().unwrap()]).into(),
        })
        .await;
        let resolver = resolver(&server);
        let client = Client::of(serve_udp(resolver).await).await;
        let mut response = query("web.", RecordType::A);
        response.metadata.message_type = MessageType::Response;
        client.send(&query("slow.example.", RecordType::A)).await;
        client.send(&response).await;
        for (name, expected) in [("quick.example.", "9.9.9.9"), ("web.", "172.18.0.2")] {
            let asked = query(name, RecordType::A);
            client.send(&asked).await;
            let answered = client.receive().await;
            assert_eq!((answered.id, data(&answered)), (asked.id, vec![expected.to_owned()]));
        }
        drop(server);
    });
}

#[test]
fn a_connection_is_for_many_queries() {
    run(async {
        let server = Server::of("9.9.9.9").await;
        let mut stream = TcpStream::connect(serve_tcp(resolver(&server)).await).await.unwrap();
        let asked = ["web.", "example.", "web."].map(|name| query(name, RecordType::A));
        for asked in &asked {
            send(&mut stream, asked).await;
        }
        for (asked, expected) in asked.iter().zip(["172.18.0.2", "9.9.9.9", "172.18.0.2"]) {
            let answered = receive(&mut stream).await;
            assert_eq!((answered.id, data(&answered)), (asked.id, vec![expected.to_owned()]));
        }
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn a_connection_of_somebody_else_is_closed() {
    run(async {
        let server = Server::mute().await;
        let address = serve_tcp(resolver(&server)).await;
        // Longer than a query, and no query.
        for octets in [&[0xff, 0xff][..], &[0, 3, 1, 2, 3]] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(octets).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        }
        // No question is asked in it, but somebody means to ask.
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut empty = query("web.", RecordType::A);
        empty.queries.clear();
        send(&mut stream, &empty).await;
        assert_eq!(receive(&mut stream).await.response_code, ResponseCode::FormErr);
    });
}

#[test]
fn connections_beyond_the_limit_wait_for_others_to_end() {
    run(async {
        let server = Server::mute().await;
        let address = serve_tcp(resolver(&server)).await;
        let asked = query("web.", RecordType::A);
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            send(&mut stream, &asked).await;
            assert_eq!(data(&receive(&mut stream).await), ["172.18.0.2"]);
            held.push(stream);
        }
        let mut next = TcpStream::connect(address).await.unwrap();
        send(&mut next, &asked).await;
        // The others are still served, and this one is not.
        send(&mut held[1], &asked).await;
        receive(&mut held[1]).await;
        assert!(next.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
        drop(held.remove(0));
        assert_eq!(data(&receive(&mut next).await), ["172.18.0.2"]);
    });
}

/// Nothing is left to do but wait, so the clock jumps.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_idle_is_closed() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let server = Server::mute().await;
            let address = serve_tcp(resolver(&server)).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The half of a length.
            stream.write_all(&[0]).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        })
        .await;
}
