//! What listens in a container, and what is connected.

use std::net::SocketAddr;

use super::{InvalidMessage, printable};
use crate::client::CallError;
use crate::message as written;
use crate::vocabulary::{MAX_SOCKETS, Socket, SocketOwner, Sockets};

impl From<Sockets> for written::Response {
    fn from(sockets: Sockets) -> Self {
        let Sockets { sockets, more } = sockets;
        Self::Sockets { sockets: sockets.into_iter().map(Into::into).collect(), more }
    }
}

impl TryFrom<written::Response> for Sockets {
    type Error = CallError;

    fn try_from(response: written::Response) -> Result<Self, CallError> {
        let written::Response::Sockets { sockets, more } = response else { return Err(CallError::Unexpected) };
        let more = more || sockets.len() > MAX_SOCKETS;
        let sockets = sockets.into_iter().take(MAX_SOCKETS).map(TryInto::try_into).collect::<Result<_, _>>();
        Ok(Self { sockets: sockets.map_err(CallError::Invalid)?, more })
    }
}

impl From<Socket> for written::Socket {
    fn from(socket: Socket) -> Self {
        let Socket { protocol, local, peer, owner } = socket;
        Self {
            protocol: protocol.name().to_owned(),
            local: local.to_string(),
            peer: peer.map(|peer| peer.to_string()),
            owner: owner.map(|SocketOwner { pid, name }| written::SocketOwner { pid, name }),
        }
    }
}

impl TryFrom<written::Socket> for Socket {
    type Error = InvalidMessage;

    fn try_from(socket: written::Socket) -> Result<Self, InvalidMessage> {
        let written::Socket { protocol, local, peer, owner } = socket;
        Ok(Self {
            protocol: printable(&protocol).parse().map_err(InvalidMessage::Protocol)?,
            local: address(&local)?,
            peer: peer.as_deref().map(address).transpose()?,
            owner: owner.map(|written::SocketOwner { pid, name }| SocketOwner { pid, name: printable(&name) }),
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, InvalidMessage> {
    text.parse().map_err(|_| InvalidMessage::Address(printable(text)))
}

#[cfg(test)]
mod tests {
    use casemate_model::Protocol;

    use super::*;

    fn socket(local: &str, peer: Option<&str>) -> written::Socket {
        let owner = Some(written::SocketOwner { pid: 7, name: "httpd".to_owned() });
        written::Socket { protocol: "tcp".to_owned(), local: local.to_owned(), peer: peer.map(str::to_owned), owner }
    }

    #[test]
    fn sockets_come_back_as_they_were() {
        let owner = SocketOwner { pid: 7, name: "httpd".to_owned() };
        let sockets = vec![
            Socket { protocol: Protocol::Tcp, local: "[::]:80".parse().unwrap(), peer: None, owner: Some(owner) },
            Socket {
                protocol: Protocol::Udp,
                local: "10.1.0.2:53".parse().unwrap(),
                peer: Some("[fd00::1]:4000".parse().unwrap()),
                owner: None,
            },
        ];
        let sockets = Sockets { sockets, more: false };
        let json = serde_json::to_vec(&written::Response::from(sockets.clone())).unwrap();
        let back: written::Response = serde_json::from_slice(&json).unwrap();
        assert_eq!(Sockets::try_from(back).unwrap(), sockets);
    }

    #[test]
    fn a_guests_list_is_cut_and_its_words_are_checked() {
        let many = vec![socket("0.0.0.0:80", None); MAX_SOCKETS + 1];
        let cut = Sockets::try_from(written::Response::Sockets { sockets: many, more: false }).unwrap();
        assert_eq!((cut.sockets.len(), cut.more), (MAX_SOCKETS, true));
        let refused = |socket| {
            let response = written::Response::Sockets { sockets: vec![socket], more: false };
            match Sockets::try_from(response) {
                Err(CallError::Invalid(error)) => error.to_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(socket("localhost:80", None)), "invalid address \"localhost:80\"");
        assert_eq!(refused(socket("0.0.0.0:80", Some("\x1b[2J"))), "invalid address \"\u{fffd}[2J\"");
        assert_eq!(
            refused(written::Socket { protocol: "raw".to_owned(), ..socket("0.0.0.0:80", None) }),
            "invalid proto: raw"
        );
        let mut named = socket("0.0.0.0:80", None);
        named.owner.as_mut().unwrap().name = "\x1b]0;title\x07".to_owned();
        let read = Sockets::try_from(written::Response::Sockets { sockets: vec![named], more: false }).unwrap();
        assert_eq!(read.sockets[0].owner.as_ref().unwrap().name, "\u{fffd}]0;title\u{fffd}");
    }
}
