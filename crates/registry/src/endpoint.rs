//! Where a registry's name leads.

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use url::Url;

use crate::connect::is_local;
use crate::error::RegistryError;
use crate::resolve::resolve;
use crate::settings::Settings;
use crate::tls;

/// What image names call Docker Hub, and where it is.
const HUB_NAMES: [&str; 2] = ["docker.io", "index.docker.io"];
const HUB: &str = "https://registry-1.docker.io/";

/// One way of asking a registry.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Ends with a slash.
    pub(crate) url: Url,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) is_mirror: bool,
    /// The registry is on this host, and may say so.
    pub(crate) is_local: bool,
    /// May be without TLS, and lead there.
    pub(crate) is_insecure: bool,
}

impl Endpoint {
    /// A copy of the registry that was asked for: what it lacks, the registry
    /// may have.
    pub fn is_mirror(&self) -> bool {
        self.is_mirror
    }
}

/// All ways to ask `registry` (`host` or `host:port`), in order: dockerd's rule.
pub(crate) async fn endpoints(settings: &Settings, registry: &str) -> Result<Vec<Endpoint>, RegistryError> {
    if !HUB_NAMES.contains(&registry) {
        return of_host(settings, registry, &format!("https://{registry}/"), false).await;
    }
    let mut found = Vec::new();
    for mirror in &settings.mirrors {
        let url = mirror.url();
        let host = url.host_str().unwrap_or_default();
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        // What a mirror speaks is what its setting says.
        found.extend(of_host(settings, &authority, url.as_str(), true).await?.into_iter().take(1));
    }
    // Never anything but safe, whatever the settings say of others.
    let url: Url = HUB.parse().map_err(|_| RegistryError::Url { url: HUB.to_owned() })?;
    let tls = Arc::new(tls::verifying(&[])?);
    found.push(Endpoint { url, tls, is_mirror: false, is_local: false, is_insecure: false });
    Ok(found)
}

async fn of_host(
    settings: &Settings,
    authority: &str,
    url: &str,
    is_mirror: bool,
) -> Result<Vec<Endpoint>, RegistryError> {
    let url: Url = url.parse().map_err(|_| RegistryError::Url { url: url.to_owned() })?;
    // A name that does not resolve is nobody's; asking it says so.
    let addresses = resolve(url.host_str().unwrap_or_default()).await.unwrap_or_default();
    let is_insecure =
        settings.insecure.names(authority) || addresses.iter().any(|address| settings.insecure.contains(*address));
    let tls = match is_insecure {
        true => tls::trusting()?,
        false => {
            let directories: Vec<_> = settings.certificates.iter().map(|directory| directory.join(authority)).collect();
            tls::verifying(&directories)?
        }
    };
    let is_local = addresses.iter().any(|address| is_local(*address));
    let endpoint = Endpoint { url, tls: Arc::new(tls), is_mirror, is_local, is_insecure };
    let mut plain = endpoint.clone();
    let may_be_plain = is_insecure && plain.url.scheme() == "https" && plain.url.set_scheme("http").is_ok();
    Ok(if may_be_plain { vec![endpoint, plain] } else { vec![endpoint] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{InsecureRegistries, Mirror};

    fn urls(settings: &Settings, registry: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(endpoints(settings, registry)).unwrap();
        found.iter().map(|endpoint| endpoint.url.to_string()).collect()
    }

    #[test]
    fn this_host_and_insecure_registries_may_be_plain() {
        let settings =
            Settings { insecure: InsecureRegistries::parse(["192.0.2.0/24"]).unwrap(), ..Settings::default() };
        for registry in ["localhost:5000", "127.0.0.1:5000", "192.0.2.9:5000"] {
            let expected = [format!("https://{registry}/"), format!("http://{registry}/")];
            assert_eq!(urls(&settings, registry), expected);
        }
        assert_eq!(urls(&settings, "198.51.100.1:5000"), ["https://198.51.100.1:5000/"]);
        assert_eq!(urls(&settings, "198.51.100.1"), ["https://198.51.100.1/"]);
    }

    #[test]
    fn mirrors_come_before_the_hub() {
        let mirrors = vec![Mirror::parse("http://127.0.0.1:5001/hub").unwrap()];
        let settings = Settings { mirrors, ..Settings::default() };
        assert_eq!(urls(&settings, "127.0.0.1:9").len(), 2);
        assert_eq!(urls(&settings, "docker.io"), ["http://127.0.0.1:5001/hub/", "https://registry-1.docker.io/"]);
    }
}
