//! Names for containers that were given none: `word_word`, as Docker's look.

use casemate_model::ContainerName;
use rand::Rng;

const FIRST: [&str; 40] = [
    "amber", "ashen", "brisk", "calm", "chalk", "clear", "copper", "coral", "dusky", "early", "fair", "fallow",
    "gentle", "granite", "hazel", "hollow", "icy", "keen", "late", "lofty", "lucid", "mellow", "misty", "noble",
    "oaken", "ochre", "plain", "quiet", "rapid", "russet", "sable", "sandy", "silver", "slate", "stark", "sturdy",
    "tawny", "umber", "vivid", "wary",
];
const SECOND: [&str; 40] = [
    "abutment",
    "arch",
    "bailey",
    "barbican",
    "bastion",
    "battery",
    "bulwark",
    "citadel",
    "cordon",
    "corbel",
    "crenel",
    "curtain",
    "donjon",
    "drawbridge",
    "embrasure",
    "gatehouse",
    "glacis",
    "keep",
    "loophole",
    "machicolation",
    "merlon",
    "moat",
    "outwork",
    "palisade",
    "parapet",
    "portcullis",
    "postern",
    "rampart",
    "ravelin",
    "redan",
    "redoubt",
    "sallyport",
    "scarp",
    "sentry",
    "tenaille",
    "tower",
    "traverse",
    "turret",
    "vault",
    "ward",
];

/// A name that `taken` does not know; after a few tries a number is added.
pub(crate) fn random(taken: impl Fn(&str) -> bool) -> ContainerName {
    let mut rng = rand::rng();
    let mut tries = 0;
    loop {
        let mut name =
            format!("{}_{}", FIRST[rng.random_range(0..FIRST.len())], SECOND[rng.random_range(0..SECOND.len())]);
        if tries > 4 {
            name.push_str(&rng.random_range(0..1_000_000).to_string());
        }
        tries += 1;
        if !taken(&name) {
            return name.parse().unwrap_or_else(|_| unreachable!("the word lists make valid names"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_valid_and_taken_ones_are_avoided() {
        for first in FIRST {
            for second in SECOND {
                assert!(format!("{first}_{second}").parse::<ContainerName>().is_ok());
            }
        }
        let name = random(|name| !name.ends_with(|c: char| c.is_ascii_digit()));
        assert!(name.as_str().ends_with(|c: char| c.is_ascii_digit()));
    }
}
