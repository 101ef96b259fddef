//! Client certificates: who holds one that the cluster's client CA has signed is who the certificate says.
//!
//! The rules are the API server's: the CA bundle is the one that it publishes for API extensions in ConfigMap
//! `kube-system/extension-apiserver-authentication`, the common name is the user, the organisations are the groups.
//! The TLS handshake accepts every certificate whose key the client holds; whether it counts is decided here, so that
//! somebody with a foreign certificate gets an answer in words and not a broken connection, and so that certificates
//! that expire or whose CA is withdrawn stop counting on connections that live on.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::user::{Proof, User};

/// Key of the ConfigMap that holds the CA bundle.
pub(crate) const CA_BUNDLE_KEY: &str = "client-ca-file";
/// A verdict on a certificate counts so long on a connection.
const VERDICT_LIFETIME: Duration = Duration::from_secs(30);

/// Why a bundle or a certificate does not count.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    /// The bundle of the ConfigMap cannot be used.
    #[error("client CA bundle is not usable: {0}")]
    Bundle(String),
    /// The cluster publishes no client CA.
    #[error("this cluster has no client CA, so that client certificates cannot be checked")]
    NoClientCa,
    /// The certificate is not signed by the CA, expired, or not meant for clients.
    #[error("the client certificate was not accepted: {0}")]
    Rejected(String),
    /// The certificate names nobody.
    #[error("the client certificate has no common name, which would be the user")]
    Nameless,
}

/// The cluster's client CA, replaced whenever its ConfigMap changes.
#[derive(Debug)]
pub(crate) struct ClientCa {
    provider: Arc<CryptoProvider>,
    verifier: RwLock<Option<Arc<dyn ClientCertVerifier>>>,
}

impl ClientCa {
    pub(crate) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, verifier: RwLock::default() }
    }

    /// Takes a new bundle. A bundle that cannot be used changes nothing.
    pub(crate) fn replace(&self, bundle_pem: &str) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle_pem.as_bytes()) {
            let certificate = certificate.map_err(|error| Error::Bundle(error.to_string()))?;
            roots.add(certificate).map_err(|error| Error::Bundle(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::Bundle(error.to_string()))?;
        self.set(Some(verifier));
        Ok(())
    }

    /// Forgets the bundle: no client certificate counts any longer.
    pub(crate) fn clear(&self) {
        self.set(None);
    }

    fn set(&self, verifier: Option<Arc<dyn ClientCertVerifier>>) {
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
    }

    fn current(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.verifier.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The certificate that a connection came with, and what it was found to be worth.
#[derive(Debug)]
pub(crate) struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    verdict: RwLock<Option<Verdict>>,
}

#[derive(Debug)]
struct Verdict {
    by: Arc<dyn ClientCertVerifier>,
    at: Instant,
    outcome: Result<Arc<User>, Error>,
}

impl PeerCertificate {
    /// From the chain of a finished handshake; nothing if it is empty.
    pub(crate) fn from_chain(chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let chain: Vec<_> = chain?.iter().map(|certificate| certificate.clone().into_owned()).collect();
        (!chain.is_empty()).then(|| Self { chain, verdict: RwLock::default() })
    }

    /// The user that this certificate stands for now.
    pub(crate) fn user(&self, ca: &ClientCa) -> Result<Arc<User>, Error> {
        let verifier = ca.current().ok_or(Error::NoClientCa)?;
        if let Some(verdict) = &*self.verdict.read().unwrap_or_else(PoisonError::into_inner)
            && Arc::ptr_eq(&verdict.by, &verifier)
            && verdict.at.elapsed() < VERDICT_LIFETIME
        {
            return verdict.outcome.clone();
        }
        let outcome = verify(&self.chain, &*verifier).map(Arc::new);
        let verdict = Verdict { by: verifier, at: Instant::now(), outcome: outcome.clone() };
        *self.verdict.write().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        outcome
    }
}

fn verify(chain: &[CertificateDer<'_>], verifier: &dyn ClientCertVerifier) -> Result<User, Error> {
    let (leaf, intermediates) = chain.split_first().ok_or(Error::Nameless)?;
    verifier
        .verify_client_cert(leaf, intermediates, UnixTime::now())
        .map_err(|error| Error::Rejected(error.to_string()))?;
    user_of(leaf)
}

/// Reads the user from a certificate that was verified.
fn user_of(leaf: &CertificateDer<'_>) -> Result<User, Error> {
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|error| Error::Rejected(error.to_string()))?;
    let subject = certificate.subject();
    // Where there are several common names, the last one counts, as in Go and so in the API server.
    let name = subject.iter_common_name().filter_map(|name| name.as_str().ok()).last().unwrap_or_default();
    if name.is_empty() {
        return Err(Error::Nameless);
    }
    let mut groups = Vec::new();
    for organisation in subject.iter_organization() {
        let group = organisation
            .as_str()
            .map_err(|error| Error::Rejected(format!("an organisation is not text: {error}")))?;
        groups.push(group.to_owned());
    }
    // What the API server adds, so that authorisers that look at it find it here too.
    let digest = Sha256::digest(leaf).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let extra = BTreeMap::from([(
        "authentication.kubernetes.io/credential-id".to_owned(),
        vec![format!("X509SHA256={digest}")],
    )]);
    Ok(User::new(name.to_owned(), None, groups, extra, Proof::Certificate))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };

    use super::*;

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn certificate(
        issuer: &CertifiedIssuer<'static, KeyPair>,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> PeerCertificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, issuer).unwrap();
        PeerCertificate::from_chain(Some(&[leaf.der().clone()])).unwrap()
    }

    fn jane(params: &mut CertificateParams) {
        params.distinguished_name.push(DnType::CommonName, "jane");
        params.distinguished_name.push(DnType::OrganizationName, "team-a");
    }

    fn client_ca() -> ClientCa {
        ClientCa::new(Arc::new(rustls::crypto::ring::default_provider()))
    }

    #[test]
    fn the_common_name_is_the_user_and_the_organisations_are_the_groups() {
        let (issuer, ca) = (authority("cluster"), client_ca());
        ca.replace(&issuer.pem()).unwrap();
        let user = certificate(&issuer, jane).user(&ca).unwrap();
        assert_eq!(user.name, "jane");
        assert_eq!(user.groups, ["team-a", "system:authenticated"]);
        assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
    }

    #[test]
    fn a_certificate_of_another_authority_counts_for_nothing() {
        let ca = client_ca();
        ca.replace(&authority("cluster").pem()).unwrap();
        let error = certificate(&authority("cluster"), jane).user(&ca).unwrap_err();
        assert!(matches!(error, Error::Rejected(_)), "{error}");
    }

    #[test]
    fn a_certificate_that_is_not_meant_for_clients_or_has_expired_counts_for_nothing() {
        let (issuer, ca) = (authority("cluster"), client_ca());
        ca.replace(&issuer.pem()).unwrap();
        let server = certificate(&issuer, |params| {
            jane(params);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let old = certificate(&issuer, |params| {
            jane(params);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        });
        assert!(matches!(server.user(&ca), Err(Error::Rejected(_))));
        assert!(matches!(old.user(&ca), Err(Error::Rejected(_))));
    }

    #[test]
    fn a_certificate_without_a_common_name_is_nobody() {
        let (issuer, ca) = (authority("cluster"), client_ca());
        ca.replace(&issuer.pem()).unwrap();
        assert_eq!(certificate(&issuer, |_| ()).user(&ca), Err(Error::Nameless));
    }

    #[test]
    fn a_certificate_stops_counting_when_its_authority_is_withdrawn() {
        let (issuer, ca) = (authority("cluster"), client_ca());
        ca.replace(&issuer.pem()).unwrap();
        let peer = certificate(&issuer, jane);
        assert!(peer.user(&ca).is_ok());
        ca.replace(&authority("next").pem()).unwrap();
        assert!(matches!(peer.user(&ca), Err(Error::Rejected(_))));
        ca.clear();
        assert_eq!(peer.user(&ca), Err(Error::NoClientCa));
    }

    #[test]
    fn a_bundle_that_cannot_be_used_changes_nothing() {
        let (issuer, ca) = (authority("cluster"), client_ca());
        ca.replace(&issuer.pem()).unwrap();
        assert!(matches!(ca.replace("no certificates"), Err(Error::Bundle(_))));
        assert!(certificate(&issuer, jane).user(&ca).is_ok());
    }
}
