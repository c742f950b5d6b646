//! The firewall's rules, as the `nft` program tells them.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::prefix::program;

/// The product's tables, of whichever family.
const TABLE: &str = "casemate";

/// Links of containers are named so, and elements that speak of one hold its name.
const PORT: &str = "cm-";

/// Beginnings of the names of sets and maps whose elements speak of containers by
/// their addresses alone.
const OF_CONTAINERS: [&str; 4] = ["egress", "loopback", "public", "publish"];

/// Of this thread's network namespace.
#[derive(Debug)]
pub struct Ruleset(Vec<(String, Value)>);

impl Ruleset {
    /// Where this host has the program.
    pub fn read() -> Option<Self> {
        let output = Command::new(program("nft")?).args(["--json", "list", "ruleset"]).output().ok()?;
        assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
        let mut ruleset: Value = serde_json::from_slice(&output.stdout).expect("nft prints JSON");
        without_counts(&mut ruleset);
        let Value::Array(objects) = ruleset["nftables"].take() else { panic!("nft lists no objects") };
        let object = |object| match object {
            Value::Object(fields) => fields.into_iter().next(),
            _ => None,
        };
        Some(Self(objects.into_iter().filter_map(object).filter(|(kind, _)| kind != "metainfo").collect()))
    }

    /// What other programs have.
    pub fn of_others(&self) -> BTreeSet<String> {
        let others = self.0.iter().filter(|(kind, object)| !is_ours(kind, object));
        others.map(|(kind, object)| format!("{kind} {object}")).collect()
    }

    /// What the product has for containers.
    pub fn of_containers(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (_, object) in self.0.iter().filter(|(kind, object)| is_ours(kind, object)) {
            let name = object["name"].as_str().unwrap_or_default();
            let is_of_containers = OF_CONTAINERS.iter().any(|start| name.starts_with(start));
            for element in object["elem"].as_array().into_iter().flatten() {
                if is_of_containers || names_port(element) {
                    found.insert(format!("{name} of table {}: {element}", object["family"]));
                }
            }
        }
        found
    }
}

fn is_ours(kind: &str, object: &Value) -> bool {
    let table = if kind == "table" { &object["name"] } else { &object["table"] };
    table == TABLE
}

fn names_port(element: &Value) -> bool {
    match element {
        Value::String(text) => text.starts_with(PORT),
        Value::Array(all) => all.iter().any(names_port),
        Value::Object(fields) => fields.values().any(names_port),
        _ => false,
    }
}

/// And without numbers that the kernel gives: with them no rule would be the same
/// twice.
fn without_counts(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(without_counts),
        Value::Object(fields) => {
            fields.retain(|name, _| !["handle", "packets", "bytes"].contains(&name.as_str()));
            fields.values_mut().for_each(without_counts);
        }
        _ => {}
    }
}
