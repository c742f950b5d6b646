//! Connections.

use std::io::ErrorKind;
use std::time::Duration;

use futures::FutureExt;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::{CONTAINER, on_a_host, publication, serve, stop};
use crate::Protocol::Tcp;
use crate::published::{Socket, bind::bind, tcp};

const HOST: &str = "127.0.0.1:8080";

/// Some megabytes are written by then.
const FULL: Duration = Duration::from_millis(200);

/// A connection, and what the container has of it. Something has been said.
async fn connection(host: &str, container: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(host).await.unwrap();
    says(&mut client, "hello").await;
    let (mut container, _) = container.accept().await.unwrap();
    hears(&mut container, "hello").await;
    (client, container)
}

/// With room for so many connections.
fn serve_at_most(most: usize) -> JoinHandle<()> {
    let held = bind(&publication(Tcp, HOST)).unwrap();
    let Socket::Tcp(listener) = held.socket else { panic!("{held:?}") };
    spawn_local(tcp::serve(listener, held.to, most))
}

fn reset(end: TcpStream) {
    set_socket_linger(&end, Some(Duration::ZERO)).unwrap();
}

async fn says(end: &mut TcpStream, words: &str) {
    end.write_all(words.as_bytes()).await.unwrap();
}

async fn hears(end: &mut TcpStream, words: &str) {
    let mut heard = vec![0; words.len()];
    end.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, words.as_bytes());
}

async fn hears_the_end(end: &mut TcpStream) {
    assert_eq!(end.read(&mut [0]).await.unwrap(), 0);
}

async fn is_reset(end: &mut TcpStream) {
    assert_eq!(end.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn each_direction_ends_by_itself() {
    on_a_host(|| async {
        let listener = TcpListener::bind(CONTAINER).await.unwrap();
        for host in [HOST, "[::1]:8080", "[::]:8080"] {
            let served = serve(Tcp, host);
            let host = host.replace("[::]", "[::1]");
            for client_is_first in [true, false] {
                let (client, container) = connection(&host, &listener).await;
                let (mut first, mut last) = if client_is_first { (client, container) } else { (container, client) };
                says(&mut first, "that was all").await;
                first.shutdown().await.unwrap();
                hears(&mut last, "that was all").await;
                hears_the_end(&mut last).await;
                says(&mut last, "and that").await;
                hears(&mut first, "and that").await;
                says(&mut last, "as well").await;
                drop(last);
                hears(&mut first, "as well").await;
                hears_the_end(&mut first).await;
            }
            stop(served).await;
        }
    });
}

/// More than all buffers on the way hold, both ways at once, with the container slow
/// to read.
#[test]
fn what_is_large_is_whole() {
    on_a_host(|| async {
        let listener = TcpListener::bind(CONTAINER).await.unwrap();
        let _served = serve(Tcp, HOST);
        let (client, container) = connection(HOST, &listener).await;
        let echo = async {
            let (mut read, mut write) = container.into_split();
            let mut buffer = vec![0; 10_007];
            loop {
                match read.read(&mut buffer).await.unwrap() {
                    0 => break write.shutdown().await.unwrap(),
                    length => write.write_all(&buffer[..length]).await.unwrap(),
                }
            }
        };
        let sent: Vec<u8> = (0u32..16 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let (mut read, mut write) = client.into_split();
        let send = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let ((), (), length) = tokio::join!(echo, send, async { read.read_to_end(&mut received).await.unwrap() });
        assert_eq!(length, sent.len());
        assert!(received == sent, "it has changed on the way");
    });
}

/// As in Telnet, whose servers look for it among the rest.
#[test]
fn what_is_urgent_keeps_its_place() {
    on_a_host(|| async {
        let listener = TcpListener::bind(CONTAINER).await.unwrap();
        let _served = serve(Tcp, HOST);
        let (mut client, mut container) = connection(HOST, &listener).await;
        for words in ["and on", "and on"] {
            assert_eq!(send(&client, b"stop!", SendFlags::OOB), Ok(5));
            hears(&mut container, "stop!").await;
            says(&mut client, words).await;
            hears(&mut container, words).await;
        }
        send(&client, b"end", SendFlags::OOB).unwrap();
        client.shutdown().await.unwrap();
        hears(&mut container, "end").await;
        hears_the_end(&mut container).await;
    });
}

#[test]
fn what_is_cut_off_does_not_look_whole() {
    on_a_host(|| async {
        let listener = TcpListener::bind(CONTAINER).await.unwrap();
        let served = serve(Tcp, HOST);
        let (mut client, mut container) = connection(HOST, &listener).await;
        says(&mut container, "a part").await;
        reset(container);
        hears(&mut client, "a part").await;
        is_reset(&mut client).await;

        let (mut client, mut container) = connection(HOST, &listener).await;
        says(&mut client, "a part").await;
        reset(client);
        hears(&mut container, "a part").await;
        is_reset(&mut container).await;

        let (mut client, mut container) = connection(HOST, &listener).await;
        stop(served).await;
        is_reset(&mut client).await;
        is_reset(&mut container).await;
        // Though the kernel may remember connections.
        serve(Tcp, HOST);
    });
}

#[test]
fn a_client_is_reset_where_nobody_listens() {
    on_a_host(|| async {
        let _served = serve(Tcp, HOST);
        is_reset(&mut TcpStream::connect(HOST).await.unwrap()).await;
        let listener = TcpListener::bind(CONTAINER).await.unwrap();
        connection(HOST, &listener).await;
    });
}

#[test]
fn connections_beyond_the_limit_wait_for_others_to_end() {
    on_a_host(|| async {
        let listener = TcpListener::bind(CONTAINER).await.unwrap();
        let _served = serve_at_most(2);
        let (first, _in_container) = connection(HOST, &listener).await;
        let (mut second, mut container) = connection(HOST, &listener).await;
        let mut third = TcpStream::connect(HOST).await.unwrap();
        says(&mut third, "third").await;
        // Others are still served, and this one is not.
        says(&mut second, "second").await;
        hears(&mut container, "second").await;
        assert!(listener.accept().now_or_never().is_none());
        reset(first);
        let (mut container, _) = listener.accept().await.unwrap();
        hears(&mut container, "third").await;
    });
}

/// Its connection makes room for the next.
#[test]
fn a_client_that_resets_is_noticed_whatever_the_container_does() {
    on_a_host(|| async {
        let listener = TcpListener::bind(CONTAINER).await.unwrap();
        let _served = serve_at_most(1);

        // It has heard all, and says nothing.
        let (mut client, mut silent) = connection(HOST, &listener).await;
        client.shutdown().await.unwrap();
        hears_the_end(&mut silent).await;
        reset(client);

        // It does not read, and what is between them fills up.
        let (mut client, _deaf) = connection(HOST, &listener).await;
        let fill = async { while client.write(&[0; 1 << 16]).await.is_ok() {} };
        assert!(timeout(FULL, fill).await.is_err());
        reset(client);

        connection(HOST, &listener).await;
    });
}

#[test]
fn many_are_served_at_once() {
    on_a_host(|| async {
        let listener = TcpListener::bind(CONTAINER).await.unwrap();
        let _served = serve(Tcp, HOST);
        let mut open = Vec::new();
        for number in 0..200 {
            let (mut client, container) = connection(HOST, &listener).await;
            says(&mut client, &number.to_string()).await;
            open.push((client, container));
        }
        for (number, (client, container)) in open.iter_mut().enumerate().rev() {
            hears(container, &number.to_string()).await;
            says(container, "heard").await;
            hears(client, "heard").await;
        }
    });
}
