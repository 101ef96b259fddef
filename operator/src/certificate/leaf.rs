//! What the authority signs: the certificates of the operator, the gateway and the runners.

use super::{Authority, Error, Facts, parameters};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    time::{Duration, SystemTime},
};

/// Life of a leaf certificate; renewed when a third of it is left.
const LIFE: Duration = Duration::from_secs(90 * 86_400);

/// The name by which runners know the operator.
pub const OPERATOR_NAME: &str = "operator.lodge.internal";
/// The name by which runners know the gateway.
pub const GATEWAY_NAME: &str = "gateway.lodge.internal";

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To call others.
    Client,
    /// To be called.
    Server,
    /// Both.
    ClientAndServer,
}

/// A certificate with its key and the bundle to trust, all as PEM: the content of a TLS Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// Whom to trust.
    pub bundle: String,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Leaf {
    /// Makes a certificate for these names.
    ///
    /// # Errors
    /// If a name can't be in a certificate.
    pub fn issue(
        authority: &Authority,
        names: &[String],
        purpose: Purpose,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let name = names.first().map_or("lodge", String::as_str);
        let mut parameters = parameters(names.to_vec(), name, now, LIFE)?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = match purpose {
            Purpose::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::ClientAndServer => {
                vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth]
            }
        };
        let key = KeyPair::generate().map_err(|source| Error::Sign { name: name.to_owned(), source })?;
        let certificate = authority.sign(&parameters, &key, name)?;
        Ok(Self { certificate, key: key.serialize_pem(), bundle: authority.bundle().to_owned() })
    }

    /// What a TLS Secret holds; `None` if it is none.
    pub fn read(data: &BTreeMap<String, String>) -> Option<Self> {
        Some(Self {
            certificate: data.get("tls.crt")?.clone(),
            key: data.get("tls.key")?.clone(),
            bundle: data.get("ca.crt")?.clone(),
        })
    }

    /// The data of a TLS Secret.
    pub fn write(&self) -> BTreeMap<String, String> {
        let Self { certificate, key, bundle } = self;
        BTreeMap::from([
            ("tls.crt".to_owned(), certificate.clone()),
            ("tls.key".to_owned(), key.clone()),
            ("ca.crt".to_owned(), bundle.clone()),
        ])
    }

    /// Keeps `present` if it is still good; else makes a new certificate. If only the bundle changed, only that is replaced.
    ///
    /// # Errors
    /// If a certificate has to be made and can't.
    pub fn renew(
        present: Option<Self>,
        authority: &Authority,
        names: &[String],
        purpose: Purpose,
        now: SystemTime,
    ) -> Result<Self, Error> {
        match present {
            Some(leaf) if leaf.is_good(authority, names, now)? => {
                Ok(Self { bundle: authority.bundle().to_owned(), ..leaf })
            }
            _ => Self::issue(authority, names, purpose, now),
        }
    }

    fn is_good(&self, authority: &Authority, names: &[String], now: SystemTime) -> Result<bool, Error> {
        let issuer = authority.facts()?;
        let (Ok(facts), Ok(key)) = (Facts::read("tls.crt", &self.certificate), KeyPair::from_pem(&self.key))
        else {
            return Ok(false);
        };
        let names: Vec<_> = names.iter().map(|name| canonical(name)).collect();
        Ok(facts.names == names
            && facts.is_signed_by(&issuer)
            && !facts.is_old(now)
            && key.public_key_raw() == facts.public_key)
    }
}

/// A name as it is read from a certificate: an address can be written in several ways.
fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn names() -> Vec<String> {
        vec!["*.lodge-runner.team-a.svc".to_owned(), "10.1.2.3".to_owned()]
    }

    fn renew(leaf: &Leaf, authority: &Authority, now: SystemTime) -> Leaf {
        Leaf::renew(Some(leaf.clone()), authority, &names(), Purpose::Server, now).unwrap()
    }

    #[test]
    fn a_good_certificate_is_kept() {
        let authority = Authority::generate(start()).unwrap();
        let leaf = Leaf::issue(&authority, &names(), Purpose::Server, start()).unwrap();
        assert_eq!(Leaf::read(&leaf.write()).unwrap(), leaf);
        assert_eq!(renew(&leaf, &authority, start() + LIFE / 2), leaf);
    }

    #[test]
    fn a_certificate_is_kept_however_an_address_is_written() {
        let authority = Authority::generate(start()).unwrap();
        let names = ["::1", "2001:DB8:0::7", "::ffff:a01:203", "Lodge.example.com"].map(str::to_owned);
        let issue = |present| Leaf::renew(present, &authority, &names, Purpose::Server, start()).unwrap();
        let leaf = issue(None);
        assert_eq!(issue(Some(leaf.clone())), leaf);
    }

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
        let authority = Authority::generate(start()).unwrap();
        let leaf = Leaf::issue(&authority, &names(), Purpose::Server, start()).unwrap();
        assert_ne!(renew(&leaf, &authority, start() + LIFE * 7 / 10), leaf);
    }

    #[test]
    fn a_certificate_of_other_names_or_another_authority_is_replaced() {
        let authority = Authority::generate(start()).unwrap();
        let other = Leaf::issue(&authority, &["a.b".to_owned()], Purpose::Server, start()).unwrap();
        assert_ne!(renew(&other, &authority, start()).certificate, other.certificate);
        let leaf = Leaf::issue(&authority, &names(), Purpose::Server, start()).unwrap();
        let stranger = Authority::generate(start()).unwrap();
        let renewed = renew(&leaf, &stranger, start());
        assert_ne!(renewed.certificate, leaf.certificate);
        assert_eq!(renewed.bundle, stranger.bundle());
    }

    #[test]
    fn rustls_accepts_what_the_authority_signs() {
        use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
        let authority = Authority::generate(SystemTime::now()).unwrap();
        let leaf = Leaf::issue(&authority, &names(), Purpose::Server, SystemTime::now()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.bundle().as_bytes()).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .unwrap();
        let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
        let verify = |name: &str| {
            use rustls::client::danger::ServerCertVerifier;
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now())
        };
        verify("lodge-runner-0.lodge-runner.team-a.svc").unwrap();
        assert!(verify("lodge-runner-0.lodge-runner.team-b.svc").is_err());
    }
}
