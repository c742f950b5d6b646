//! The grammar of networks and ports.

use clap::{Args, Subcommand};

use crate::attachment::{self, Attachment};
use crate::filters::Filter;
use crate::listing::ListFormat;
use crate::ports::{Exposed, Published};

/// Of a container that is made.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Connect the container to a network: NAME, or name=NAME with alias=NAME, ip=ADDRESS, ip6=ADDRESS,
    /// mac-address=ADDRESS, link-local-ip=ADDRESS, driver-opt=KEY=VALUE, gw-priority=NUMBER behind it, each after a comma
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub(crate) network: Vec<Attachment>,
    /// Add a network-scoped alias for the container
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub(crate) network_alias: Vec<String>,
    /// IPv4 address (172.30.100.104)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<String>,
    /// IPv6 address (2001:db8::33)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<String>,
    /// Container MAC address (92:d0:c6:0a:29:33)
    #[arg(long, value_name = "ADDRESS", value_parser = attachment::mac_address)]
    pub(crate) mac_address: Option<String>,
    /// Add a link to another container
    #[arg(long, value_name = "CONTAINER[:ALIAS]", value_parser = attachment::link)]
    pub(crate) link: Vec<String>,
    /// Container IPv4/IPv6 link-local address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) link_local_ip: Vec<String>,
    /// Publish a container's port or range of ports to the host
    #[arg(short, long, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]")]
    pub(crate) publish: Vec<Published>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(crate) expose: Vec<Exposed>,
}

#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    pub(crate) container: String,
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    pub(crate) port: Option<String>,
}

/// The same is said where the API makes them (`casemate_api`, `own`).
pub(super) const PORTS_JSON: &str = "\
With --json an object: Containers, a list of objects with Id, Name, Isolation, NetworkMode,
  Listening: a list of Protocol, Ip, Port, Pid, Process
  Published: a list of Protocol, HostIp, HostPort, Ip, Port, Listening (whether somebody does)
  Connections: a list of Protocol, Direction (in, out), Ip, Port, PeerIp, PeerPort, Pid, Process
  Truncated (there are more sockets), Error (why the sockets are not known, or null)
Pid and Process are null where no process was found. Fields may be added; none change or go.";

pub(super) const FIREWALL_JSON: &str = "\
With --json an object:
  State: whether the kernel has the rules (held, unused, unwatched, differs)
  Containers: a list of objects with Id, Name, Isolation, NetworkMode, Running,
    Networks: a list of Id, Name, Driver, Bridge, Link, Interface, Addresses,
      Reaches (Host: all, gateway or none; Containers, Public, Private: true or false; Ranges),
      ReachedBy (Host, Containers: true or false), Others (names of those containers)
    Published: a list of Protocol, HostIp, HostPort, Ip, Port
    Rules: a list of Words, Why, Syntax
  Networks: a list of Id, Name, Driver, Bridge, Rules; without CONTAINER only
  Rules: those that are nobody's in particular; without CONTAINER only
Fields may be added; none change or go.";

/// Of what is looked at from outside, one or all.
#[derive(Debug, Args)]
pub(crate) struct SeeArgs {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// [default: all that run]
    pub(crate) container: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Connect a container to a network
    Connect(ConnectArgs),
    /// Create a network
    Create(Box<CreateNetworkArgs>),
    /// Disconnect a container from a network
    Disconnect(DisconnectArgs),
    /// Display detailed information on one or more networks
    Inspect(InspectNetworkArgs),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(ListNetworksArgs),
    /// Remove all unused networks
    Prune(PruneNetworksArgs),
    /// Remove one or more networks
    #[command(visible_alias = "remove")]
    Rm(RmNetworkArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Add a network-scoped alias for the container
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) alias: Vec<String>,
    /// Driver options for the network
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE")]
    pub(crate) driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway; negative values are accepted
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "NUMBER")]
    pub(crate) gw_priority: i64,
    /// IPv4 address (172.30.100.104)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<String>,
    /// IPv6 address (2001:db8::33)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<String>,
    /// Add a link to another container
    #[arg(long, value_name = "CONTAINER[:ALIAS]", value_parser = attachment::link)]
    pub(crate) link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub(crate) link_local_ip: Vec<String>,
    pub(crate) network: String,
    pub(crate) container: String,
}

/// What is checked by the daemon is passed on as it is written.
#[derive(Debug, Args)]
pub(crate) struct CreateNetworkArgs {
    /// Driver to manage the network
    #[arg(short, long, default_value = "bridge", value_name = "NAME")]
    pub(crate) driver: String,
    /// Set driver specific options
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    pub(crate) subnet: Vec<String>,
    /// Allocate container addresses from a sub-range
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    pub(crate) ip_range: Vec<String>,
    /// IPv4 or IPv6 gateway for the subnet
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub(crate) gateway: Vec<String>,
    /// Auxiliary IPv4 or IPv6 address used by the network's driver
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) aux_address: Vec<String>,
    /// Restrict external access to the network
    #[arg(long)]
    pub(crate) internal: bool,
    /// Enable manual container attachment
    #[arg(long)]
    pub(crate) attachable: bool,
    /// Enable or disable IPv4 address assignment
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) ipv6: Option<bool>,
    /// IP address management driver
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub(crate) ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) ipam_opt: Vec<String>,
    /// Set metadata on the network
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    pub(crate) label: Vec<String>,
    #[command(flatten)]
    pub(crate) refused: Refused,
    pub(crate) network: String,
}

/// Docker's flags that are for swarm, which is not here: known, to be refused with
/// a reason.
#[derive(Debug, Args)]
pub(crate) struct Refused {
    #[arg(long, hide = true)]
    pub(crate) ingress: bool,
    #[arg(long, hide = true)]
    pub(crate) scope: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) config_only: bool,
    #[arg(long, hide = true)]
    pub(crate) config_from: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DisconnectArgs {
    /// Force the container to disconnect from the network
    #[arg(short, long)]
    pub(crate) force: bool,
    pub(crate) network: String,
    pub(crate) container: String,
}

#[derive(Debug, Args)]
pub(crate) struct InspectNetworkArgs {
    /// Print fields only: '{{.Driver}}', '{{json .IPAM}}'; or 'json'
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[arg(required = true)]
    pub(crate) networks: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListNetworksArgs {
    /// Show what has this only: driver=NAME, id=ID, label=NAME[=VALUE], name=NAME, scope=NAME, type=custom|builtin,
    /// dangling=BOOL
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) filter: Vec<Filter>,
    /// Only display network IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// 'table', 'table {{.ID}}\t{{.Name}}', 'json', or a line for each: '{{.Name}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: ListFormat,
}

#[derive(Debug, Args)]
pub(crate) struct PruneNetworksArgs {
    /// Remove what has this only: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmNetworkArgs {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    #[arg(required = true)]
    pub(crate) networks: Vec<String>,
}

/// In Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum LabelError {
    #[error("invalid label '{0}': empty name")]
    NoName(String),
    #[error("label '{0}' contains whitespaces")]
    Whitespace(String),
}

/// `NAME[=VALUE]`; a name has no blanks in it.
fn label(text: &str) -> Result<String, LabelError> {
    let blanks = [' ', '\t'];
    let name = text.split_once('=').map_or(text, |(name, _)| name).trim_start_matches(blanks);
    match name {
        "" => Err(LabelError::NoName(text.to_owned())),
        _ if name.contains(blanks) => Err(LabelError::Whitespace(name.to_owned())),
        _ => Ok(text.to_owned()),
    }
}
