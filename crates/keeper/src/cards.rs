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

    /// Takes links from their bridges that are not among these.
    pub(crate) async fn pull_all_but(&self, host: &Links, wanted: &[Link]) -> Result<(), Failure> {
        let is_unwanted = |link: &Link| !wanted.iter().any(|other| other.port == link.port);
        let links: Vec<Link> = self.0.borrow().iter().filter_map(|card| card.link.clone()).collect();
        for link in links.into_iter().filter(is_unwanted) {
            host.pull(&link.port).await.map_err(|error| Failure::from_error(&error))?;
            self.set(&link.port, link.port.clone(), None);
        }
        Ok(())
    }

    /// Puts spare cards on the bridges of links that have none. What cannot be had is
    /// refused before anything is changed.
    pub(crate) async fn plug(&self, host: &Links, wanted: &[Link]) -> Result<(), Failure> {
        if wanted.len() > self.0.borrow().len() {
            return Err(too_few());
        }
        for link in wanted {
            // From here on the link is the card's, to be pulled if this fails.
            let Some(tap) = self.take(link)? else { continue };
            let plugged = async {
                host.plug(&tap, &link.port, port(host, link).await?).await?;
                host.forward(&link.port).await
            };
            if let Err(error) = plugged.await {
                // It may not have got as far as its new name.
                if host.index_of(&tap).await.is_ok() {
                    self.set(&link.port, tap, None);
                }
                return Err(Failure::from_error(&error));
            }
        }
        Ok(())
    }

    /// Has a card be for the link. Returns the name of its tap, if it was spare.
    fn take(&self, link: &Link) -> Result<Option<String>, Failure> {
        let mut cards = self.0.borrow_mut();
        let has_it = |card: &HostCard| card.link.as_ref().is_some_and(|at| at.port == link.port);
        if let Some(card) = cards.iter_mut().find(|card| has_it(card)) {
            card.link = Some(link.clone());
            return Ok(None);
        }
        let spare = cards.iter_mut().find(|card| card.link.is_none()).ok_or_else(too_few)?;
        spare.link = Some(link.clone());
        Ok(Some(std::mem::replace(&mut spare.tap, link.port.clone())))
    }

    /// Of the card whose tap is called so.
    fn set(&self, tap: &str, name: String, link: Option<Link>) {
        if let Some(card) = self.0.borrow_mut().iter_mut().find(|card| card.tap == tap) {
            (card.tap, card.link) = (name, link);
        }
    }
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
            "the container has no network card left: a utility VM has those that it was started with, and one to spare if \
             there were any",
        )
    }
}
