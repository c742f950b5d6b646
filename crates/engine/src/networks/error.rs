//! In Docker's words (moby `daemon/network.go`, `daemon/libnetwork`).

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use casemate_model::{Classify, ErrorClass, Protocol};
use casemate_net::{AddressError, InvalidDriverOption, NoFreeSubnet, SubnetError};
use casemate_record::file::RecordError;
use ipnet::IpNet;

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("network {name} not found")]
    NotFound { name: String },
    #[error("network {name} is ambiguous: several ids begin with it")]
    Ambiguous { name: String },
    #[error("network with name {name} already exists")]
    NameTaken { name: String },
    #[error("operation is not permitted on predefined {name} network")]
    Predefined { name: String },
    #[error("error while removing network: network {name} has active endpoints ({members})")]
    InUse { name: String, id: String, members: String },
    #[error("invalid network name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    Name { name: String },
    #[error("plugin {name:?} not found: networks have the drivers bridge and sealed")]
    Driver { name: String },
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Option(#[from] InvalidDriverOption),
    #[error("invalid network config")]
    Subnet(#[source] SubnetError),
    #[error("invalid pool request: Pool overlaps with other one on this address space: {subnet} and {other}")]
    Overlap { subnet: IpNet, other: String },
    #[error(transparent)]
    NoFreeSubnet(#[from] NoFreeSubnet),
    #[error("bridge name {name} is used by network {network}")]
    BridgeTaken { name: String, network: String },
    #[error("cannot use {path}")]
    Dir { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Record(RecordError),
    #[error("network {id} is damaged: the {field} {value:?} is invalid")]
    Damaged { id: String, field: &'static str, value: String },
    /// The kernel, or the firewall, would not.
    #[error("cannot set up network {name}")]
    Kernel { name: String, source: Box<dyn std::error::Error + Send + Sync> },
}

impl Classify for NetworkError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } | Self::Driver { .. } => ErrorClass::NotFound,
            Self::NameTaken { .. } => ErrorClass::Conflict,
            Self::Predefined { .. } | Self::InUse { .. } | Self::Overlap { .. } | Self::BridgeTaken { .. } => {
                ErrorClass::Forbidden
            }
            Self::Ambiguous { .. } | Self::Name { .. } | Self::Invalid(_) | Self::Option(_) | Self::Subnet(_) => {
                ErrorClass::InvalidArgument
            }
            Self::NoFreeSubnet(_) => ErrorClass::ResourceExhausted,
            Self::Record(error) => error.class(),
            Self::Dir { .. } | Self::Damaged { .. } | Self::Kernel { .. } => ErrorClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoFreeSubnet(_) => Some("name one with --subnet, or remove networks that nobody uses".to_owned()),
            _ => None,
        }
    }
}

/// A container cannot have an end of a network, or let go of one.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("endpoint with name {name} already exists in network {network}")]
    Already { name: String, network: String },
    #[error("container {name} is not connected to network {network}")]
    NotConnected { name: String, network: String },
    #[error(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )]
    Shares,
    #[error("container cannot be connected to multiple networks with one of the networks in private (none) mode")]
    Private,
    #[error("container cannot be disconnected from host network or connected to host network")]
    Host,
    #[error("{network} cannot be used with hyperv isolation: a utility VM has a network of its own; {instead}")]
    Hyperv { network: String, instead: &'static str },
    #[error("container {name} is paused: unpause it to change its networks")]
    Paused { name: String },
    #[error("cannot join network of a non running container: {name}")]
    NotRunning { name: String },
    #[error("{0}")]
    Invalid(String),
    #[error("{address}: {source}")]
    Address { address: String, source: AddressError },
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("cannot keep the container's configuration")]
    Record(#[source] RecordError),
    #[error(transparent)]
    Refused(casemate_model::Failure),
}

impl Classify for ConnectError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Network(error) => error.class(),
            Self::Already { .. } | Self::NotConnected { .. } | Self::Shares | Self::Private | Self::Host => {
                ErrorClass::Forbidden
            }
            Self::NotRunning { .. } | Self::Paused { .. } => ErrorClass::Conflict,
            Self::Hyperv { .. } | Self::Invalid(_) => ErrorClass::InvalidArgument,
            Self::Address { source: AddressError::None, .. } => ErrorClass::ResourceExhausted,
            Self::Address { .. } => ErrorClass::InvalidArgument,
            Self::Publish(error) => error.class(),
            Self::Record(error) => error.class(),
            Self::Refused(failure) => failure.class,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Network(error) => error.hint(),
            Self::Refused(failure) => failure.hint.clone(),
            _ => None,
        }
    }
}

/// A port cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("invalid port specification: {0:?}")]
    Invalid(String),
    #[error("Bind for {host} failed: port is already allocated (by container {holder})")]
    Taken { host: SocketAddr, holder: String },
    #[error("all {protocol} ports of {range} are allocated")]
    Exhausted { protocol: Protocol, range: String },
}

impl Classify for PublishError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid(_) => ErrorClass::InvalidArgument,
            Self::Taken { .. } => ErrorClass::Internal,
            Self::Exhausted { .. } => ErrorClass::ResourceExhausted,
        }
    }
}
