//! The gateway's certificate: shown to clients, and to runners as proof that it is the gateway. Comes from a Secret and is
//! replaced while connections go on; who has connected keeps the old one until they connect again.
//!
//! The private key is in the memory of rustls only, never in a log or an error.

use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Secret;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::serving::{self, ByName, Serving};

/// Key of a Secret: the certificate, and those between it and its root.
pub(crate) const CERTIFICATE_KEY: &str = "tls.crt";
/// Key of a Secret: the private key.
pub(crate) const PRIVATE_KEY_KEY: &str = "tls.key";
const CA_KEY: &str = "ca.crt";

/// Why a Secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A key is missing.
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    /// A key does not hold what it should.
    #[error("{0} of the Secret is not usable PEM: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// The parts do not fit.
    #[error("{0} of the Secret is not usable: {1}")]
    Rustls(&'static str, rustls::Error),
}

/// TLS configuration made of one version of the Secret.
#[derive(Debug)]
pub(crate) struct TlsMaterial {
    /// Towards clients.
    pub(crate) server: Arc<ServerConfig>,
    /// Towards runners.
    pub(crate) client: Arc<ClientConfig>,
    /// When the certificate ends, in seconds since 1970.
    expiry: Option<i64>,
}

/// The current TLS configuration.
#[derive(Debug)]
pub(crate) struct TlsStore {
    provider: Arc<CryptoProvider>,
    current: RwLock<Option<Arc<TlsMaterial>>>,
    serving: Arc<Serving>,
}

impl TlsStore {
    pub(crate) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, current: RwLock::default(), serving: Arc::default() }
    }

    /// What is to be used now; nothing until the Secret was read once.
    pub(crate) fn current(&self) -> Option<Arc<TlsMaterial>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a new version of the Secret. One that cannot be used changes nothing.
    pub(crate) fn replace(&self, secret: &Secret) -> Result<(), Error> {
        let material = Arc::new(self.build(secret)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(material);
        Ok(())
    }

    /// Takes a new version of the Secret whose certificate clients are shown by its names; `None` if there is none.
    pub(crate) fn serve(&self, secret: Option<&Secret>) -> Result<(), Error> {
        match secret {
            Some(secret) => self.serving.replace(secret, &self.provider),
            None => {
                self.serving.clear();
                Ok(())
            }
        }
    }

    /// When the first of the certificates that clients are shown ends, in seconds since 1970.
    pub(crate) fn expiry(&self) -> Option<i64> {
        let own = self.current().and_then(|material| material.expiry);
        own.into_iter().chain(self.serving.expiry()).min()
    }

    fn build(&self, secret: &Secret) -> Result<TlsMaterial, Error> {
        let own = Arc::new(serving::read(secret, &self.provider)?);
        let chain = own.cert.clone();
        let key = PrivateKeyDer::from_pem_slice(field(secret, PRIVATE_KEY_KEY)?)
            .map_err(|error| Error::Pem(PRIVATE_KEY_KEY, error))?;
        let expiry = serving::expiry(&own);
        let mut roots = RootCertStore::empty();
        for certificate in certificates(secret, CA_KEY)? {
            roots.add(certificate).map_err(|error| Error::Rustls(CA_KEY, error))?;
        }

        let anybody = Arc::new(AnyClientCertificate { provider: self.provider.clone() });
        let mut server = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Rustls(CERTIFICATE_KEY, error))?
            .with_client_cert_verifier(anybody)
            .with_cert_resolver(Arc::new(ByName { own, serving: self.serving.clone() }));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

        let mut client = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Rustls(CERTIFICATE_KEY, error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| Error::Rustls(PRIVATE_KEY_KEY, error))?;
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsMaterial { server: Arc::new(server), client: Arc::new(client), expiry })
    }
}

pub(crate) fn field<'a>(secret: &'a Secret, key: &'static str) -> Result<&'a [u8], Error> {
    let data = secret.data.as_ref().and_then(|data| data.get(key)).ok_or(Error::Missing(key))?;
    Ok(&data.0)
}

pub(crate) fn certificates(
    secret: &Secret,
    key: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(field(secret, key)?)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Pem(key, error))?;
    if certificates.is_empty() { Err(Error::Missing(key)) } else { Ok(certificates) }
}

/// Lets everybody finish the handshake who holds the key of the certificate that they show, or who shows none. What the
/// certificate is worth is decided later, by [`crate::client_ca`].
#[derive(Debug)]
struct AnyClientCertificate {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClientCertificate {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    fn store() -> TlsStore {
        TlsStore::new(Arc::new(rustls::crypto::ring::default_provider()))
    }

    fn secret(edit: impl FnOnce(&mut BTreeMap<String, ByteString>)) -> Secret {
        let made = rcgen::generate_simple_self_signed(vec!["lodge-gateway".to_owned()]).unwrap();
        let certificate = ByteString(made.cert.pem().into_bytes());
        let key = ByteString(made.signing_key.serialize_pem().into_bytes());
        let mut data = BTreeMap::from([
            (CERTIFICATE_KEY.to_owned(), certificate.clone()),
            (PRIVATE_KEY_KEY.to_owned(), key),
            (CA_KEY.to_owned(), certificate),
        ]);
        edit(&mut data);
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn a_new_version_of_the_secret_replaces_the_old_one() {
        let store = store();
        assert!(store.current().is_none());
        store.replace(&secret(|_| ())).unwrap();
        let first = store.current().unwrap();
        store.replace(&secret(|_| ())).unwrap();
        assert!(!Arc::ptr_eq(&first, &store.current().unwrap()));
    }

    /// The certificate that a client is shown who asks for a name, and trusts that of the Secret.
    fn shown(store: &TlsStore, name: &'static str, trusted: &Secret) -> CertificateDer<'static> {
        let mut roots = RootCertStore::empty();
        roots.add(certificates(trusted, CERTIFICATE_KEY).unwrap().remove(0)).unwrap();
        let config = ClientConfig::builder_with_provider(store.provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut server = rustls::ServerConnection::new(store.current().unwrap().server.clone()).unwrap();
        while client.is_handshaking() {
            let mut flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flight).unwrap();
            }
            server.read_tls(&mut flight.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            let mut flight = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut flight).unwrap();
            }
            client.read_tls(&mut flight.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        client.peer_certificates().unwrap()[0].clone().into_owned()
    }

    #[test]
    fn clients_are_shown_the_certificate_of_the_name_that_they_ask_for() {
        let (store, own) = (store(), secret(|_| ()));
        store.replace(&own).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["lodge.example.com".to_owned()]).unwrap();
        let serving = secret(|data| {
            data.insert(CERTIFICATE_KEY.to_owned(), ByteString(made.cert.pem().into_bytes()));
            data.insert(
                PRIVATE_KEY_KEY.to_owned(),
                ByteString(made.signing_key.serialize_pem().into_bytes()),
            );
        });
        store.serve(Some(&serving)).unwrap();
        assert_eq!(shown(&store, "lodge.example.com", &serving), *made.cert.der());
        let own_certificate = certificates(&own, CERTIFICATE_KEY).unwrap().remove(0);
        assert_eq!(shown(&store, "lodge-gateway", &own), own_certificate);
        assert!(store.expiry().is_some());
    }

    #[test]
    fn a_secret_that_cannot_be_used_changes_nothing_and_is_named_by_its_key() {
        let store = store();
        store.replace(&secret(|_| ())).unwrap();
        let before = store.current().unwrap();
        let without_ca = secret(|data| drop(data.remove(CA_KEY)));
        assert_eq!(store.replace(&without_ca).unwrap_err().to_string(), "the Secret has no ca.crt");
        let other_key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let mixed_up = secret(|data| {
            data.insert(PRIVATE_KEY_KEY.to_owned(), ByteString(other_key.into_bytes()));
        });
        assert!(store.replace(&mixed_up).unwrap_err().to_string().contains("tls.key"));
        assert!(Arc::ptr_eq(&before, &store.current().unwrap()));
    }
}
