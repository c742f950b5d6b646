//! A VM's network cards, each with a tap on the host that its frames go through. A
//! VM has the cards that it was made with: one of them is spare, for a network that
//! is connected to while it runs.

use std::cell::RefCell;
use std::net::Ipv4Addr;

use casemate_model::{ErrorClass, Failure, MacAddress};
use casemate_net::{Card, Links, TapError};
use casemate_vm::Nic;
use casemate_wire::Link;

use crate::network::port;

#[derive(Debug, Default)]
pub(crate) struct Cards(RefCell<Vec<HostCard>>);

#[derive(Debug)]
struct HostCard {
    /// The guest knows it by this, whatever it does with it.
    mac: MacAddress,
    /// Name of its tap, which goes with the VM.
    tap: String,
    /// Unless it is spare.
    link: Option<Link>,
}

impl Cards {
    /// One for each link, and a spare one where there are any.
    pub(crate) async fn make(host: &Links, wanted: &[Link]) -> Result<(Self, Vec<Nic>), Failure> {
        if wanted.len() > Nic::MOST {
            let message = format!("a utility VM has at most {} network cards", Nic::MOST);
            return Err(Failure::new(ErrorClass::InvalidArgument, message));
        }
        let failed = |error: &TapError| Failure::from_error(error);
        let (mut cards, mut nics) = (Vec::new(), Vec::new());
        for link in wanted {
            let mac = link.interface.mac;
            let made = async {
                let tap = host.tap(&link.port, port(host, link).await?).await?;
                host.forward(&link.port).await?;
                Ok(tap)
            };
            nics.push(Nic { mac, tap: made.await.map_err(|error| failed(&error))? });
            cards.push(HostCard { mac, tap: link.port.clone(), link: Some(link.clone()) });
        }
        if let Some(first) = wanted.first().filter(|_| wanted.len() < Nic::MOST) {
            let (mac, tap) = (MacAddress::of(NOBODY), format!("{SPARE_PREFIX}{}", digits(&first.port)));
            nics.push(Nic { mac, tap: Links::spare_tap(&tap).map_err(|error| failed(&error))? });
            cards.push(HostCard { mac, tap, link: None });
        }
        Ok((Self(cards.into()), nics))
    }

    /// As the guest is to have them.
    pub(crate) fn told(&self) -> Vec<Card> {
        let told = |card: &HostCard| Card { mac: card.mac, interface: card.link.as_ref().map(|l| l.interface.clone()) };
        self.0.borrow().iter().map(told).collect()
    }

    /// Has these links and no others. What cannot be had is refused before anything
    /// is changed.
    pub(crate) async fn rewire(&self, host: &Links, wanted: &[Link]) -> Result<(), Failure> {
        let mut cards = self.0.take();
        let rewired = rewire(&mut cards, host, wanted).await;
        self.0.replace(cards);
        rewired
    }
}

async fn rewire(cards: &mut [HostCard], host: &Links, wanted: &[Link]) -> Result<(), Failure> {
    if wanted.len() > cards.len() {
        return Err(too_few());
    }
    let is_at = |card: &HostCard, link: &Link| card.link.as_ref().is_some_and(|at| at.port == link.port);
    for card in cards.iter_mut() {
        match wanted.iter().find(|link| is_at(card, link)) {
            Some(link) => card.link = Some(link.clone()),
            None if card.link.is_some() => {
                host.pull(&card.tap).await.map_err(|error| Failure::from_error(&error))?;
                card.link = None;
            }
            None => {}
        }
    }
    for link in wanted {
        if cards.iter().any(|card| is_at(card, link)) {
            continue;
        }
        let spare = cards.iter_mut().find(|card| card.link.is_none()).ok_or_else(too_few)?;
        let plugged = async {
            host.plug(&spare.tap, &link.port, port(host, link).await?).await?;
            spare.tap.clone_from(&link.port);
            host.forward(&link.port).await
        };
        plugged.await.map_err(|error| Failure::from_error(&error))?;
        spare.link = Some(link.clone());
    }
    Ok(())
}

/// No container has this address, nor the hardware address that it gives.
const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

const SPARE_PREFIX: &str = "cs-";

/// Of the port's name, what no other container's has.
fn digits(port: &str) -> &str {
    port.strip_prefix(casemate_net::PORT_PREFIX).unwrap_or(port)
}

fn too_few() -> Failure {
    Failure {
        hint: Some("stop it, connect it, and start it again".to_owned()),
        ..Failure::new(
            ErrorClass::Conflict,
            "the container has no network card left: a utility VM has those it started with, and one to spare",
        )
    }
}
