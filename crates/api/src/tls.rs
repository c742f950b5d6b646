//! Who may speak to the daemon over TCP: certificates of the server, and the
//! authority whose clients it believes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// Where the keys lie, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Clients must have a certificate of this authority; none: anyone may
    /// speak.
    pub client_authority: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("could not read {what} {path:?}")]
    Read { what: &'static str, path: PathBuf, source: pem::Error },
    #[error("could not load X509 key pair (cert: {certificate:?}, key: {key:?})")]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("could not use the CA certificate {path:?}")]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("could not verify clients by the CA certificate {path:?}")]
    Verifier { path: PathBuf, source: VerifierBuilderError },
}

/// Reads the files. TLS 1.2 and 1.3, as Docker's clients speak.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let TlsFiles { certificate, key, client_authority } = files;
    let provider = Arc::new(ring::default_provider());
    let pair = |source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source };
    let chain = certificates("certificate", certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Read {
        what: "private key",
        path: key.clone(),
        source,
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(pair)?;
    let builder = match client_authority {
        Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, secret).map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates("CA certificate", path)? {
        authorities.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
        .build()
        .map_err(|source| TlsError::Verifier { path: path.to_owned(), source })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Read { what, path: path.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if found.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(found) }
}
