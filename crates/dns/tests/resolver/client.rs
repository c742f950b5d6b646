//! A client on a socket, as `dig` is.

use std::net::SocketAddr;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Asks by UDP.
pub(crate) struct Client(UdpSocket);

impl Client {
    pub(crate) async fn of(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        Self(socket)
    }

    pub(crate) async fn send(&self, message: &Message) {
        self.0.send(&message.to_vec().unwrap()).await.unwrap();
    }

    pub(crate) async fn receive(&self) -> Message {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).await.unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }
}

pub(crate) async fn send(stream: &mut TcpStream, message: &Message) {
    let octets = message.to_vec().unwrap();
    let length = u16::try_from(octets.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &octets].concat()).await.unwrap();
}

pub(crate) async fn receive(stream: &mut TcpStream) -> Message {
    let length = stream.read_u16().await.unwrap();
    let mut octets = vec![0; length.into()];
    stream.read_exact(&mut octets).await.unwrap();
    Message::from_vec(&octets).unwrap()
}
