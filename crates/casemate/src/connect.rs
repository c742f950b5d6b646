//! The daemon that a command speaks to: the one that is named, or this host's
//! own, which is started if nobody serves.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use casemate_client::{Choice, Client, Environment, Host};

use crate::cli::Cli;
use crate::on_demand;
use crate::report::{self, CliError};

pub(crate) async fn connect(cli: &Cli) -> Result<Client, CliError> {
    let run = std::path::absolute(cli.global.run_dir()).unwrap_or_else(|_| cli.global.run_dir().to_owned());
    let choice = Choice {
        host: cli.host.clone(),
        context: cli.context.clone(),
        environment: Environment {
            host: variable("DOCKER_HOST"),
            context: variable("DOCKER_CONTEXT"),
            tls_verify: variable("DOCKER_TLS_VERIFY").is_some(),
            cert_path: variable("DOCKER_CERT_PATH").map(PathBuf::from),
        },
        config_dir: config_dir(),
        default_socket: run.join("docker.sock"),
    };
    let endpoint = choice.resolve()?;
    let started = match &endpoint.host {
        Host::Unix(socket) if endpoint.is_default && on_demand::is_nobody(UnixStream::connect(socket)) => {
            on_demand::start(cli, &run, socket).await?
        }
        _ => false,
    };
    if !started && let Some(flags) = cli.flags_of_daemon() {
        report::warn(&format!("{flags}: of no effect, because a daemon serves at {} already", endpoint.host));
    }
    Ok(Client::new(endpoint)?)
}

/// Docker's, of this user.
pub(crate) fn config_dir() -> PathBuf {
    let home = || PathBuf::from(variable("HOME").unwrap_or_else(|| "/root".to_owned())).join(".docker");
    variable("DOCKER_CONFIG").map_or_else(home, PathBuf::from)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
