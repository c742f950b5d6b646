//! `GET /casemate/firewall?container=NAME`: which rules there are, and why.
//!
//! ```text
//! { "State": "unused" | "held" | "unwatched" | "differs",    whether the kernel has these rules
//!   "Containers": [{
//!     "Id", "Name", "Isolation", "NetworkMode", "Running",
//!     "Networks": [{
//!       "Id", "Name", "Driver", "Bridge", "Link", "Interface", "Addresses": [ADDRESS],
//!       "Reaches": { "Host": "all" | "gateway" | "none", "Containers": BOOL, "Public": BOOL, "Private": BOOL,
//!                    "Ranges": [CIDR] },
//!       "ReachedBy": { "Host": BOOL, "Containers": BOOL },
//!       "Others": [NAME] }],                                 those that it reaches there, and that reach it
//!     "Published": [{ "Protocol", "HostIp", "HostPort", "Ip", "Port" }],
//!     "Rules": [{ "Words", "Why", "Syntax" }] }],
//!   "Networks": [{ "Id", "Name", "Driver", "Bridge", "Rules": […] }],
//!   "Rules": […] }                                           nobody's in particular
//! ```
//!
//! With a container, `Networks` and `Rules` are empty: those are not there because of
//! it. One that does not run has no rules.

use casemate_engine::daemon::{Entry, FirewallState};
use casemate_engine::networks::{ContainerRules, Egress, Explained, HostReach, NetworkRules, Networks, Outside, Way};
use serde_json::{Value, json};

use super::ports::publication;
use crate::reply::{self, Reply};
use crate::request::Call;

pub(crate) async fn firewall(call: &Call) -> Reply {
    let entries = super::asked(call)?;
    let of_all = call.query.get("container").is_none();
    let state = call.daemon.firewall_state().await;
    let networks = call.daemon.networks();
    // What there would be if somebody needed it is not there.
    let (of_networks, of_host) = match of_all && state != FirewallState::Unused {
        true => (networks.rules_of_networks(), call.daemon.rules_of_host()),
        false => (Vec::new(), Vec::new()),
    };
    reply::json(&json!({
        "State": state.as_str(),
        "Containers": entries.iter().map(|entry| container(&networks, entry)).collect::<Vec<Value>>(),
        "Networks": of_networks.iter().map(network).collect::<Vec<Value>>(),
        "Rules": rules(&of_host),
    }))
}

fn container(networks: &Networks, entry: &Entry) -> Value {
    let ContainerRules { ways, publications, rules: of_container } = networks.rules_of(&entry.id);
    let mut container = super::head(entry);
    container["Running"] = json!(entry.status().is_up());
    container["Networks"] = ways.iter().map(way).collect();
    container["Published"] = publications.iter().map(publication).collect();
    container["Rules"] = rules(&of_container);
    container
}

fn way(way: &Way) -> Value {
    let Way { id, network, driver, bridge, link, interface, addresses, host, with_others, others, outside, from_host } =
        way;
    let (public, private, ranges) = match outside {
        Outside::All => (true, true, Vec::new()),
        Outside::Nothing => (false, false, Vec::new()),
        Outside::Some(Egress { public, ranges }) => (*public, false, ranges.iter().map(ToString::to_string).collect()),
    };
    json!({
        "Id": id,
        "Name": network,
        "Driver": driver,
        "Bridge": bridge,
        "Link": link,
        "Interface": interface,
        "Addresses": addresses,
        "Reaches": {
            "Host": match host {
                HostReach::All => "all",
                HostReach::Gateway => "gateway",
                HostReach::Nothing => "none",
            },
            "Containers": with_others,
            "Public": public,
            "Private": private,
            "Ranges": ranges,
        },
        "ReachedBy": { "Host": from_host, "Containers": with_others },
        "Others": others,
    })
}

fn network(of: &NetworkRules) -> Value {
    let NetworkRules { id, name, driver, bridge, rules: of_network } = of;
    json!({ "Id": id, "Name": name, "Driver": driver, "Bridge": bridge, "Rules": rules(of_network) })
}

fn rules(rules: &[Explained]) -> Value {
    let rule = |Explained { syntax, words, why }: &Explained| json!({ "Words": words, "Why": why, "Syntax": syntax });
    rules.iter().map(rule).collect()
}
