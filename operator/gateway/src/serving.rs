//! The certificate that clients are shown by the names that it is for: one of cert-manager, or of an administrator.
//!
//! Everybody who asks for another name, or for none, is shown the operator's: inside the cluster, and through a port-forward,
//! nothing depends on anybody's issuer. The Secret is watched, and what cannot be used changes nothing.

use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Secret;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::tls::{CERTIFICATE_KEY, Error, PRIVATE_KEY_KEY, certificates, field};

/// The current certificate for clients, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Serving(RwLock<Option<Arc<CertifiedKey>>>);

impl Serving {
    /// Takes a new version of the Secret. One that cannot be used changes nothing.
    pub(crate) fn replace(&self, secret: &Secret, provider: &CryptoProvider) -> Result<(), Error> {
        let key = Arc::new(read(secret, provider)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(())
    }

    /// Forgets the certificate.
    pub(crate) fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the certificate ends, in seconds since 1970.
    pub(crate) fn expiry(&self) -> Option<i64> {
        self.current().as_deref().and_then(expiry)
    }
}

/// When a certificate ends, in seconds since 1970.
pub(crate) fn expiry(key: &CertifiedKey) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(key.cert.first()?).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Reads certificate and key out of a Secret; they have to belong together.
pub(crate) fn read(secret: &Secret, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let chain = certificates(secret, CERTIFICATE_KEY)?;
    let key = PrivateKeyDer::from_pem_slice(field(secret, PRIVATE_KEY_KEY)?)
        .map_err(|error| Error::Pem(PRIVATE_KEY_KEY, error))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| Error::Rustls(PRIVATE_KEY_KEY, error))
}

/// Chooses between the operator's certificate and the one for clients.
#[derive(Debug)]
pub(crate) struct ByName {
    pub(crate) own: Arc<CertifiedKey>,
    pub(crate) serving: Arc<Serving>,
}

impl ByName {
    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let serving = self.serving.current();
        serving
            .filter(|serving| name.is_some_and(|name| is_for(serving, name)))
            .unwrap_or_else(|| self.own.clone())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()))
    }
}

/// Whether the certificate is for the name.
fn is_for(key: &CertifiedKey, name: &str) -> bool {
    let (Some(certificate), Ok(name)) = (key.cert.first(), ServerName::try_from(name)) else { return false };
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    fn secret(name: &str) -> Secret {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let data = BTreeMap::from([
            (CERTIFICATE_KEY.to_owned(), ByteString(made.cert.pem().into_bytes())),
            (PRIVATE_KEY_KEY.to_owned(), ByteString(made.signing_key.serialize_pem().into_bytes())),
        ]);
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn who_asks_for_a_name_of_the_certificate_is_shown_it_and_everybody_else_the_operators() {
        let provider = rustls::crypto::ring::default_provider();
        let own = Arc::new(read(&secret("lodge-gateway.lodge-system.svc"), &provider).unwrap());
        // The end of time, of certificates that say nothing else.
        assert!(expiry(&own).is_some_and(|end| end > 4_000_000_000));
        let by_name = ByName { own: own.clone(), serving: Arc::default() };
        let shows_own = |name| Arc::ptr_eq(&by_name.choose(name), &own);
        assert!(shows_own(Some("lodge.example.com")), "there is no other yet");
        by_name.serving.replace(&secret("lodge.example.com"), &provider).unwrap();
        assert!(!shows_own(Some("lodge.example.com")));
        assert!(!shows_own(Some("LODGE.example.com")));
        for name in
            [None, Some("localhost"), Some("lodge-gateway.lodge-system.svc"), Some("example.com"), Some("-")]
        {
            assert!(shows_own(name), "{name:?}");
        }
        by_name.serving.clear();
        assert!(shows_own(Some("lodge.example.com")));
    }

    #[test]
    fn a_secret_that_cannot_be_used_changes_nothing() {
        let provider = rustls::crypto::ring::default_provider();
        let serving = Serving::default();
        serving.replace(&secret("lodge.example.com"), &provider).unwrap();
        let before = serving.current().unwrap();
        let mut mixed_up = secret("lodge.example.com");
        let other = secret("lodge.example.com").data.unwrap_or_default().remove(PRIVATE_KEY_KEY).unwrap();
        mixed_up.data.as_mut().unwrap().insert(PRIVATE_KEY_KEY.to_owned(), other);
        assert!(serving.replace(&mixed_up, &provider).unwrap_err().to_string().contains("tls.key"));
        assert!(Arc::ptr_eq(&before, &serving.current().unwrap()));
    }
}
