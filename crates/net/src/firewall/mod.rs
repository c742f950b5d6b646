//! The firewall: tables of nftables, of families inet, bridge and arp, that are
//! Casemate's alone. `casemate.nft` has the rules, which never change; what they
//! speak of are sets and maps, filled from the policy.

mod elements;
mod explain;
mod nft;
mod policy;
mod watch;

use std::collections::BTreeSet;

use self::elements::{Element, elements};
pub use self::explain::{Explained, explain};
pub use self::nft::{Nft, NftError};
pub use self::policy::{LOOPBACK_MARK, NetworkPolicy, PORT_PREFIX, Policy, PortPolicy, Reach, SubnetPolicy};
pub use self::watch::Watch;

const TABLES: &str = include_str!("casemate.nft");

/// The tables of the network namespace this is used in.
#[derive(Debug)]
pub struct Firewall {
    nft: Nft,
    /// What the tables hold, as far as is known.
    elements: Option<BTreeSet<Element>>,
}

impl Firewall {
    pub fn new(nft: Nft) -> Self {
        Self { nft, elements: None }
    }

    /// Makes the tables anew, whatever they were, in one transaction: no packet
    /// meets another policy than the old or the new one. Blocks until it is done.
    pub fn replace(&mut self, policy: &Policy) -> Result<(), NftError> {
        let elements = elements(policy);
        let script = elements.iter().fold(TABLES.to_owned(), |script, element| script + &element.add());
        self.elements = None;
        self.nft.run(&script)?;
        self.elements = Some(elements);
        Ok(())
    }

    /// Makes them so by what is different, in one transaction; anew if they are
    /// not what they should be. Blocks until it is done.
    pub fn update(&mut self, policy: &Policy) -> Result<(), NftError> {
        let Some(present) = &self.elements else { return self.replace(policy) };
        let elements = elements(policy);
        let gone = present.difference(&elements).map(Element::delete);
        let new = elements.difference(present).map(Element::add);
        let script: String = gone.chain(new).collect();
        if script.is_empty() {
            return Ok(());
        }
        if self.nft.run(&script).is_err() {
            return self.replace(policy);
        }
        self.elements = Some(elements);
        Ok(())
    }

    /// Whether this is what the tables hold, as far as is known: since they were set,
    /// somebody else may have changed them.
    pub fn holds(&self, policy: &Policy) -> bool {
        self.elements.as_ref().is_some_and(|present| *present == elements(policy))
    }

    /// Takes the tables away.
    pub fn remove(&mut self) -> Result<(), NftError> {
        self.elements = None;
        // Added first: it is no error if they are gone.
        self.nft.run(
            "add table inet casemate\ndelete table inet casemate\n\
             add table bridge casemate\ndelete table bridge casemate\n\
             add table arp casemate\ndelete table arp casemate\n",
        )
    }
}

#[cfg(test)]
mod tests;
