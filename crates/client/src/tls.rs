//! Keys for a daemon that asks who speaks to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::error::TlsError;

/// Where they lie, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who vouches for the daemon.
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    /// Docker's names for them.
    pub fn in_dir(dir: &Path) -> Self {
        Self { authority: dir.join("ca.pem"), certificate: dir.join("cert.pem"), key: dir.join("key.pem") }
    }

    /// A client without a certificate of its own is nobody in particular.
    pub(crate) fn connector(&self) -> Result<TlsConnector, TlsError> {
        let Self { authority, certificate, key } = self;
        let mut authorities = RootCertStore::empty();
        for found in certificates(authority)? {
            authorities.add(found).map_err(|source| TlsError::Authority { path: authority.clone(), source })?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Provider)?;
        let builder = builder.with_root_certificates(authorities);
        let config = if certificate.exists() {
            let chain = certificates(certificate)?;
            let secret =
                PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Read { path: key.clone(), source })?;
            builder.with_client_auth_cert(chain, secret).map_err(|source| TlsError::Pair {
                certificate: certificate.clone(),
                key: key.clone(),
                source,
            })?
        } else {
            builder.with_no_client_auth()
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}
