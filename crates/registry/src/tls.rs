//! What a registry's certificate must be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::error::RegistryError;

/// Where distributions keep the authorities that all programs trust.
const SYSTEM_AUTHORITIES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// For a registry whose certificate counts: the system's authorities and those
/// of the registry's own directories (Docker's `certs.d/<host[:port]>`).
pub(crate) fn verifying(directories: &[PathBuf]) -> Result<ClientConfig, RegistryError> {
    let mut roots = RootCertStore::empty();
    let system = SYSTEM_AUTHORITIES.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default();
    // The system's file may hold what this library does not understand.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&system).filter_map(Result::ok));
    let mut shown = None;
    for directory in directories {
        let found = read_directory(directory)?;
        roots.add_parsable_certificates(found.authorities);
        shown = shown.or(found.shown);
    }
    let builder = builder()?.with_root_certificates(roots);
    match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unusable),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// For a registry that may have any certificate.
pub(crate) fn trusting() -> Result<ClientConfig, RegistryError> {
    let verifier = Arc::new(AnyCertificate(ring::default_provider()));
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn builder()
-> Result<tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::WantsVerifier>, RegistryError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)
}

fn unusable(error: Error) -> RegistryError {
    RegistryError::Certificates { path: "certs.d".into(), problem: error.to_string() }
}

#[derive(Default)]
struct Found {
    authorities: Vec<CertificateDer<'static>>,
    shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

fn read_directory(directory: &Path) -> Result<Found, RegistryError> {
    let failed = |problem: String| RegistryError::Certificates { path: directory.to_owned(), problem };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(failed(error.to_string())),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))?;
    names.sort();
    let certificates = |name: &str| -> Result<Vec<CertificateDer<'static>>, RegistryError> {
        let certificates = CertificateDer::pem_file_iter(directory.join(name)).and_then(Iterator::collect);
        certificates.map_err(|error| failed(format!("{name}: {error}")))
    };
    let mut found = Found::default();
    for name in &names {
        match name.rsplit_once('.') {
            Some((_, "crt")) => found.authorities.extend(certificates(name)?),
            Some((stem, "cert")) => {
                let key = format!("{stem}.key");
                if !names.contains(&key) {
                    let hint = "CA certificates must use the extension .crt";
                    return Err(failed(format!("missing key {key} for client certificate {name}. {hint}")));
                }
                let key = PrivateKeyDer::from_pem_file(directory.join(&key));
                let key = key.map_err(|error| failed(format!("{stem}.key: {error}")))?;
                found.shown = Some((certificates(name)?, key));
            }
            Some((stem, "key")) if !names.contains(&format!("{stem}.cert")) => {
                return Err(failed(format!("missing client certificate {stem}.cert for key {name}")));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Takes any certificate for the registry's; that the other side has its key is
/// still seen to.
#[derive(Debug)]
struct AnyCertificate(CryptoProvider);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
