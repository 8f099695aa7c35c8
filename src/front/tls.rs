//! TLS by rustls with ring: what the checked configuration asks for, as what a handshake needs.
//!
//! Nothing here reads a file, and the clock only to tell what is out of date. A certificate that is out of date is served all the same: clients refuse
//! it, and the metrics tell its end long before.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms, ring, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion, version,
};
use tracing::warn;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::config::web_file::{ClientAuth, Curve, Tls, Version};

/// A client that speaks HTTP/2 speaks this, too.
const PROTOCOL: &[u8] = b"http/1.1";
/// A certificate that ends sooner is worth a line in the log.
const EXPIRES_SOON_SECS: i64 = 7 * 86_400;

/// Nobody needs more names; a certificate may have thousands.
const NAMES_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} has no certificate, expected some that begin with -----BEGIN CERTIFICATE-----")]
    NoCertificate { what: String },
    #[error(
        "{what} has no private key, expected one without a passphrase that begins with -----BEGIN PRIVATE KEY-----"
    )]
    NoKey { what: String },
    #[error("{what} is no certificate that can be read")]
    Certificate { what: String },
    #[error(
        "{key} is not the key of {certificate}, or of a kind that is not known: expected RSA of 2048 bits and more, ECDSA P-256, P-384 or Ed25519"
    )]
    Pair {
        key: String,
        certificate: String,
        source: Error,
    },
    #[error("{what} cannot sign those of clients")]
    Authority { what: String, source: Error },
    #[error("set TLS up")]
    Setup { source: Error },
}

/// PEM, and what to call it in a message.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) what: String,
    pub(super) pem: Vec<u8>,
}

/// What a handshake needs.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) config: Arc<ServerConfig>,
    /// Of the server's own certificate, in seconds since 1970.
    pub(super) valid: (i64, i64),
}

pub(super) fn ready(
    tls: &Tls,
    certificate: &Named,
    key: &Named,
    client_ca: Option<&Named>,
) -> Result<Ready, TlsError> {
    let provider = Arc::new(provider(tls));
    let chain = certificates(certificate)?;
    let valid = validity(certificate, &chain)?;
    let private = PrivateKeyDer::from_pem_slice(&key.pem).map_err(|_| TlsError::NoKey {
        what: key.what.clone(),
    })?;
    let verifier = verifier(tls, client_ca, &provider)?;
    let setup = |source| TlsError::Setup { source };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls))
        .map_err(setup)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|source| TlsError::Pair {
            key: key.what.clone(),
            certificate: certificate.what.clone(),
            source,
        })?;
    config.ignore_client_order = tls.prefers_own_suites;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Ready {
        config: Arc::new(config),
        valid,
    })
}

/// Suites and curves in the order of the configuration; those of TLS 1.3 as rustls has them.
fn provider(tls: &Tls) -> CryptoProvider {
    let all = ring::ALL_CIPHER_SUITES;
    let named = |name: &&str| {
        let is_it =
            move |suite: &&rustls::SupportedCipherSuite| format!("{:?}", suite.suite()) == **name;
        all.iter().find(is_it)
    };
    let tls13 = all.iter().filter(|suite| suite.tls13().is_some());
    let tls12 = tls.tls12_suites.iter().filter_map(named);
    CryptoProvider {
        cipher_suites: tls13.chain(tls12).copied().collect(),
        kx_groups: tls.curves.iter().map(|curve| group(*curve)).collect(),
        ..ring::default_provider()
    }
}

fn group(curve: Curve) -> &'static dyn SupportedKxGroup {
    match curve {
        Curve::P256 => ring::kx_group::SECP256R1,
        Curve::P384 => ring::kx_group::SECP384R1,
        Curve::X25519 => ring::kx_group::X25519,
    }
}

/// TLS 1.2 goes without saying where no suite of its own is left.
fn versions(tls: &Tls) -> Vec<&'static SupportedProtocolVersion> {
    let all = [
        (Version::Tls13, &version::TLS13),
        (Version::Tls12, &version::TLS12),
    ];
    let asked = all.into_iter().filter(|(version, _)| {
        (tls.min_version..=tls.max_version).contains(version)
            && (*version == Version::Tls13 || !tls.tls12_suites.is_empty())
    });
    asked.map(|(_, version)| version).collect()
}

fn certificates(named: &Named) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = || named.what.clone();
    let chain = CertificateDer::pem_slice_iter(&named.pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| TlsError::Certificate { what: what() })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { what: what() });
    }
    Ok(chain)
}

fn validity(named: &Named, chain: &[CertificateDer<'_>]) -> Result<(i64, i64), TlsError> {
    let first = chain
        .first()
        .and_then(|der| parse_x509_certificate(der).ok());
    let (_, first) = first.ok_or_else(|| TlsError::Certificate {
        what: named.what.clone(),
    })?;
    let validity = first.validity();
    Ok((
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}

fn verifier(
    tls: &Tls,
    client_ca: Option<&Named>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let (is_mandatory, is_verified) = match tls.client_auth {
        ClientAuth::No => return Ok(None),
        ClientAuth::Request => (false, false),
        ClientAuth::RequireAny => (true, false),
        ClientAuth::VerifyIfGiven => (false, true),
        ClientAuth::RequireAndVerify => (true, true),
    };
    let authority = match client_ca {
        Some(client_ca) if is_verified => Some(authority(client_ca, provider)?),
        Some(_) | None => None,
    };
    Ok(Some(Arc::new(ClientCheck {
        authority,
        is_mandatory,
        allowed_sans: tls.client_allowed_sans.clone(),
        algorithms: provider.signature_verification_algorithms,
    })))
}

fn authority(
    client_ca: &Named,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let refused = |source| TlsError::Authority {
        what: client_ca.what.clone(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(client_ca)? {
        roots.add(certificate).map_err(refused)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| refused(Error::General(error.to_string())))
}

/// Whether a client may come in with the certificate that it shows.
#[derive(Debug)]
struct ClientCheck {
    /// Without one, whoever signed it does not matter; that the client has its key always does.
    authority: Option<Arc<dyn ClientCertVerifier>>,
    is_mandatory: bool,
    allowed_sans: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientCheck {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.authority {
            Some(authority) => authority.root_hint_subjects(),
            None => &[],
        }
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authority) = &self.authority {
            authority.verify_client_cert(certificate, others, now)?;
        }
        let is_allowed = self.allowed_sans.is_empty()
            || alternative_names(certificate)
                .iter()
                .any(|name| self.allowed_sans.contains(name));
        if is_allowed {
            return Ok(ClientCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Tells whether the certificate that `server` shows is out of date, or will be soon.
pub(super) fn tell_validity(server: &'static str, (begin, end): (i64, i64)) {
    let now = i64::try_from(now().as_secs()).unwrap_or(i64::MAX);
    if end <= now {
        warn!(
            server,
            expired_secs_ago = now - end,
            "the server's certificate has expired: clients refuse it"
        );
    } else if now < begin {
        warn!(
            server,
            begins_in_secs = begin - now,
            "the server's certificate is not valid yet: clients refuse it"
        );
    } else if end - now < EXPIRES_SOON_SECS {
        warn!(
            server,
            expires_in_secs = end - now,
            "the server's certificate expires soon"
        );
    }
}

/// Since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// What somebody who shows this certificate is called: the names of hosts among its alternative names or, where it
/// has none of those, its common name (RFC 6125, 6.4.4).
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.map(|names| names.value.general_names.iter());
    let hosts = alternative.into_iter().flatten().filter_map(host);
    let hosts: Vec<String> = hosts.take(NAMES_MAX).collect();
    if !hosts.is_empty() {
        return hosts;
    }
    let common = certificate.subject().iter_common_name();
    let common = common.filter_map(|name| name.as_str().ok());
    common.take(NAMES_MAX).map(str::to_owned).collect()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what other kinds there are is the crate's affair"
)]
fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) => Some((*text).to_owned()),
        _ => None,
    }
}

/// Names of hosts, addresses, e-mail addresses and URIs; none of what cannot be read.
fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names.filter_map(shown).collect()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what other kinds there are is the crate's affair"
)]
fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::web_file::Pem;

    #[test]
    fn each_suite_of_the_configuration_is_one_of_rustls() {
        let nothing = Pem::Inline(String::new());
        let tls = Tls::new(nothing.clone(), nothing);
        let suites = provider(&tls).cipher_suites;
        assert_eq!(suites.len(), ring::ALL_CIPHER_SUITES.len());
        assert_eq!(versions(&tls).len(), 2);
        let tls = Tls {
            tls12_suites: Vec::new(),
            ..tls
        };
        assert_eq!(versions(&tls), [&version::TLS13]);
    }
}
