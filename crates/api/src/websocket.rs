//! A WebSocket as a plain connection: what comes in messages is read as bytes,
//! what is written goes out in binary messages.

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use crate::error::ApiError;
use crate::hijack::Connection;
use crate::request::Call;

/// What may wait between the two.
const BUFFER: usize = 64 << 10;

/// What people type, and programs pipe in pieces.
const MAX_MESSAGE: usize = 1 << 20;

/// The answer to a handshake (RFC 6455, 4.2.2).
pub(crate) fn head(call: &Call) -> Result<String, ApiError> {
    let bad = |what: &str| ApiError::bad_request(format!("not a WebSocket handshake: {what}"));
    if !call.header("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        return Err(bad("no Upgrade: websocket"));
    }
    let key = call.header("sec-websocket-key").ok_or_else(|| bad("no Sec-WebSocket-Key"))?;
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    ))
}

/// The plain connection, and what carries its bytes until either side ends.
pub(crate) async fn carry(outer: Connection) -> (Connection, impl Future<Output = ()>) {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let Connection { reader, writer, gone, .. } = outer;
    let stream = tokio::io::join(reader, writer);
    let (mut sink, mut messages) = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await.split();
    let (inner, ours) = tokio::io::duplex(BUFFER);
    let (reader, writer) = tokio::io::split(inner);
    let (mut our_reader, mut our_writer) = tokio::io::split(ours);
    let incoming = async move {
        while let Some(Ok(message)) = messages.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                _ => continue,
            };
            if our_writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = our_writer.shutdown().await;
    };
    let outgoing = async move {
        let mut chunk = vec![0; BUFFER];
        while let Ok(length @ 1..) = our_reader.read(&mut chunk).await {
            if sink.send(Message::binary(chunk[..length].to_vec())).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    };
    let (carrying, carried_on) = oneshot::channel::<()>();
    let carried = async move {
        tokio::select! {
            () = outgoing => {}
            // A WebSocket is closed both ways at once.
            () = incoming => {}
            () = gone => {}
        }
        drop(carrying);
    };
    let gone = Box::pin(async move { drop(carried_on.await) });
    let plain = Connection { reader: Box::new(reader), writer: Box::new(writer), framed: false, gone };
    (plain, carried)
}
