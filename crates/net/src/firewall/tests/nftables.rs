//! What `nft` sees and does, as another program.

use std::process::Command;

use crate::testbed::Node;

/// On this thread's network namespace.
pub(super) fn nft(command: &str) -> String {
    let output = Command::new("nft").arg(command).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that is ours, whichever way the kernel has it ordered.
pub(super) fn listing(node: &Node) -> String {
    let tables = ["inet", "bridge", "arp"].map(|family| format!("list table {family} casemate"));
    node.run(|_| tables.map(|list| ordered(&nft(&list))).concat())
}

/// The elements of each set and map in order.
fn ordered(listing: &str) -> String {
    let mut ordered = String::new();
    let mut rest = listing;
    while let Some((before, after)) = rest.split_once("elements = {") {
        let (elements, after) = after.split_once('}').unwrap();
        let mut elements: Vec<_> = elements.split(',').map(str::trim).collect();
        elements.sort_unstable();
        ordered += &format!("{before}elements = {{ {} }}", elements.join(", "));
        rest = after;
    }
    ordered + rest
}
