//! Whom to trust: the CA of the gateway, for the host that was asked for or for the gateway's own name; and the system's, for
//! the host, because the gateway, or what stands in front of it, may show a certificate that everybody knows.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::Error;

pub(super) fn roots(pem: &[u8], from: String) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| Error::Ca { from: from.clone(), why: error.to_string() })?;
        roots.add(certificate).map_err(|error| Error::Ca { from: from.clone(), why: error.to_string() })?;
    }
    if roots.is_empty() {
        return Err(Error::Ca { from, why: "it holds no certificate".to_owned() });
    }
    Ok(roots)
}

/// Who may vouch for the gateway, besides the CA that is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Nobody: the user said whom to trust.
    Nobody,
    /// The authorities that the system trusts.
    System,
}

/// Makes a configuration trust the gateway and nobody else.
pub(super) fn trust(
    mut tls: ClientConfig,
    roots: RootCertStore,
    own_name: ServerName<'static>,
    others: Others,
) -> Result<ClientConfig, Error> {
    let by_authority = verifier(roots)
        .map_err(|error| Error::Ca { from: "of the gateway".to_owned(), why: error.to_string() })?;
    let by_system = OnceLock::new();
    let verifier = GatewayVerifier { by_authority, own_name, others, by_system };
    tls.dangerous().set_certificate_verifier(Arc::new(verifier));
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

fn verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()
}

/// A verifier by the system's authorities; nothing if there are none.
fn system_verifier() -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    verifier(roots).ok()
}

/// Accepts a certificate of Lodge's CA for the host that was asked for, or for the gateway's own name: its address may be
/// one that the operator was not told. Accepts one of the system's authorities for the host only.
#[derive(Debug)]
struct GatewayVerifier {
    by_authority: Arc<WebPkiServerVerifier>,
    own_name: ServerName<'static>,
    others: Others,
    /// Read when it is needed: that takes longer than many a command.
    by_system: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
}

impl GatewayVerifier {
    fn system(&self) -> Option<&Arc<WebPkiServerVerifier>> {
        match self.others {
            Others::Nobody => None,
            Others::System => self.by_system.get_or_init(system_verifier).as_ref(),
        }
    }
}

impl ServerCertVerifier for GatewayVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = |by: &WebPkiServerVerifier, name: &ServerName<'_>| {
            by.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        };
        let by_authority =
            verify(&self.by_authority, &self.own_name).or_else(|_| verify(&self.by_authority, server_name));
        by_authority.or_else(|error| match self.system() {
            Some(system) if *server_name != self.own_name => verify(system, server_name).map_err(|_| error),
            Some(_) | None => Err(error),
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authority.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authority.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_without_a_certificate_is_refused() {
        assert!(roots(b"", "x".to_owned()).is_err());
    }

    #[test]
    fn the_systems_authorities_are_asked_about_the_host_and_only_if_nobody_said_whom_to_trust() {
        let signed = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert;
        let store = |certificate: &rcgen::Certificate| {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.der().clone()).unwrap();
            verifier(roots).unwrap()
        };
        let (lodge, public) = (signed("lodge-gateway.lodge-system.svc"), signed("lodge.example.com"));
        let accepts = |others, name: &str| {
            let verifier = GatewayVerifier {
                by_authority: store(&lodge),
                own_name: "lodge-gateway.lodge-system.svc".try_into().unwrap(),
                others,
                by_system: OnceLock::from(Some(store(&public))),
            };
            let name = ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(public.der(), &[], &name, &[], UnixTime::now()).is_ok()
        };
        assert!(accepts(Others::System, "lodge.example.com"));
        assert!(!accepts(Others::System, "other.example.com"));
        assert!(!accepts(Others::System, "lodge-gateway.lodge-system.svc"));
        assert!(!accepts(Others::Nobody, "lodge.example.com"));
    }
}
