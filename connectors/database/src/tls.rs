//! TLS by rustls, in the modes that PostgreSQL's URLs have names for.
//!
//! Invariant: `verify-full` and `verify-ca` never accept a certificate that does not lead to a
//! trusted authority; `require` verifies only that the peer holds the key of its certificate.

use std::path::Path;
use std::sync::Arc;

use cdc_api::{Error, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::product::Product;
use crate::settings::{Settings, TlsMode};
use crate::socket::Socket;

/// Shakes hands with the server `name` as the settings say. The server has agreed to TLS.
///
/// # Errors
/// `Config` with the remedy where one side does not accept the other, or a file cannot be used;
/// `Transient` where the connection breaks.
pub async fn secure(stream: TcpStream, name: &str, settings: &Settings) -> Result<Socket> {
    let config = client_config(settings)?;
    let server = ServerName::try_from(name.to_owned()).map_err(|error| {
        Error::config(format!(
            "the host {name:?} cannot be the name in a certificate"
        ))
        .caused_by(error)
    })?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(server, stream)
        .await
        .map_err(|error| explain(error, name, settings.product))?;
    Ok(Socket::Tls(Box::new(stream)))
}

/// The server has no TLS, and the settings ask for it.
pub fn missing(name: &str, product: &Product) -> Error {
    Error::config(format!("the server {name} has no TLS")).hint(product.no_tls)
}

fn client_config(settings: &Settings) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier {
        mode: settings.tls,
        roots: match settings.tls {
            TlsMode::VerifyCa | TlsMode::VerifyFull => {
                Roots::load(settings.root_certificate.as_deref())?
            }
            _ => Roots::none(),
        },
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("cannot set up TLS").caused_by(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some((certificate, key)) = &settings.client_certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = read_certificates(certificate, "sslcert")?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        Error::config(format!(
            "sslkey: cannot read a private key from {}",
            key.display()
        ))
        .hint("the file holds one private key in PEM that is not encrypted, and is readable")
        .caused_by(error)
    })?;
    let unusable = |error: rustls::Error| {
        Error::config("sslcert and sslkey do not go together")
            .hint("sslkey is the private key of the first certificate in sslcert")
            .caused_by(error)
    };
    let key = ring::sign::any_supported_type(&key_der).map_err(unusable)?;
    let certified = CertifiedKey::new(chain, key);
    // Whatever else the check has against the certificate is the server's to judge: certificates
    // of version 1 are common here.
    if let Err(error @ rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) =
        certified.keys_match()
    {
        return Err(unusable(error));
    }
    Ok(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
}

fn read_certificates(file: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable = |error: rustls::pki_types::pem::Error| {
        Error::config(format!(
            "{parameter}: cannot read certificates from {}",
            file.display()
        ))
        .hint("the file holds certificates in PEM and is readable by the daemon")
        .caused_by(error)
    };
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(unreadable(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

/// The authorities that are trusted, and the certificates themselves: a self-signed server
/// certificate is its own authority, which the path builder alone would refuse.
#[derive(Debug)]
struct Roots {
    store: RootCertStore,
    pinned: Vec<CertificateDer<'static>>,
}

impl Roots {
    fn none() -> Self {
        Self {
            store: RootCertStore::empty(),
            pinned: Vec::new(),
        }
    }

    fn load(file: Option<&Path>) -> Result<Self> {
        let mut roots = Self::none();
        match file {
            Some(file) => {
                roots.pinned = read_certificates(file, "sslrootcert")?;
                roots.store.add_parsable_certificates(roots.pinned.clone());
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.store.add_parsable_certificates(found.certs);
                if roots.store.is_empty() {
                    return Err(Error::config(
                        "this system has no certificate authorities to verify the server by",
                    )
                    .hint(
                        "install ca-certificates, or name the server's authority: \
                         sslrootcert=/path/ca.pem in source.url",
                    ));
                }
            }
        }
        Ok(roots)
    }
}

#[derive(Debug)]
struct Verifier {
    mode: TlsMode,
    roots: Roots,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if matches!(self.mode, TlsMode::Prefer | TlsMode::Require) {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if !self.roots.pinned.iter().any(|root| root == end_entity) {
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots.store,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        if self.mode == TlsMode::VerifyFull {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A failed handshake and its remedy. With TLS 1.3 a server that refuses our certificate says so
/// only where something is read from it next.
pub fn explain(error: std::io::Error, name: &str, product: &Product) -> Error {
    let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return Error::transient(format!("the TLS handshake with {name} broke off"))
            .caused_by(error);
    };
    let (what, hint) = match tls {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::UnknownIssuer => (
                "the server's certificate is signed by an unknown authority",
                "name the authority in source.url: sslrootcert=/path/ca.pem",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                (
                    "the server's certificate does not name this host",
                    "use a host in source.url that is in the certificate's subjectAltName, or \
                 sslmode=verify-ca to verify the authority alone",
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ("the server's certificate has expired", product.expired)
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                "the server's certificate is not valid yet",
                "compare the clocks of this machine and of the server",
            ),
            _ => (
                "the server's certificate cannot be verified",
                "name its authority, or a self-signed certificate itself, in source.url: \
                 sslrootcert=/path/ca.pem; it needs a subjectAltName and X.509 version 3",
            ),
        },
        rustls::Error::AlertReceived(_) => (
            "the server refused the TLS session",
            product.refused_certificate,
        ),
        rustls::Error::PeerIncompatible(_) => (
            "the server has no TLS version or cipher in common",
            product.no_common_version,
        ),
        _ => (
            "the TLS handshake failed",
            "check the server's ssl settings, and that nothing between rewrites the traffic",
        ),
    };
    Error::config(format!("{name}: {what}"))
        .hint(hint)
        .caused_by(error)
}
