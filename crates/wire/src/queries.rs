//! What a container asks its embedded resolver, between the agent that takes it and
//! the keeper that answers.
//!
//! Both go over one stream, each behind a header: the query's number (32 bits), how
//! it came (8 bits), the length (16 bits), little endian. An answer of no length is
//! none: the query was no question.

use std::io;

use futures::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A message of DNS, asked or answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsMessage {
    /// Chosen by the agent, and the same in the answer.
    pub number: u32,
    /// Whether by TCP, which an answer of any size is taken by.
    pub by_tcp: bool,
    pub octets: Vec<u8>,
}

impl DnsMessage {
    /// In one piece. Of octets there are no more than TCP could carry.
    pub async fn write(&self, io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let Self { number, by_tcp, octets } = self;
        let length = u16::try_from(octets.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let header = [&number.to_le_bytes()[..], &[u8::from(*by_tcp)], &length.to_le_bytes()];
        io.write_all(&[&header.concat(), &octets[..]].concat()).await?;
        io.flush().await
    }

    async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let number = io.read_u32_le().await?;
        let by_tcp = io.read_u8().await? != 0;
        let length = io.read_u16_le().await?;
        let mut octets = vec![0; length.into()];
        io.read_exact(&mut octets).await?;
        Ok(Self { number, by_tcp, octets })
    }
}

/// All that come, until the other side ends. Waiting for the next can be given up
/// and taken up again.
pub fn dns_messages(io: impl AsyncRead + Unpin) -> impl Stream<Item = DnsMessage> {
    stream::unfold(io, async |mut io| Some((DnsMessage::read(&mut io).await.ok()?, io)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn what_was_written_is_read_up_to_what_is_not_whole() {
        block_on(async {
            let sent = [(0, false, vec![1, 2, 3]), (u32::MAX, true, vec![9; u16::MAX.into()]), (7, false, Vec::new())]
                .map(|(number, by_tcp, octets)| DnsMessage { number, by_tcp, octets });
            let mut bytes = Vec::new();
            for message in &sent {
                message.write(&mut bytes).await.unwrap();
            }
            bytes.extend_from_slice(&[1, 0, 0, 0, 0, 200, 0, 1]);
            assert_eq!(dns_messages(&bytes[..]).collect::<Vec<_>>().await, sent);
        });
    }

    #[test]
    fn more_than_there_is_room_for_is_not_sent() {
        let long = DnsMessage { number: 1, by_tcp: true, octets: vec![0; 1 << 16] };
        let mut bytes = Vec::new();
        assert_eq!(block_on(long.write(&mut bytes)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(bytes.is_empty());
    }
}
