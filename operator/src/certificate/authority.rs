//! The authority: a self-signed certificate, its key, and the bundle that everybody trusts.
//!
//! ```text
//!            a third of life left           a day later (everybody has the bundle)
//!  [current] ───────────────────▶ [current + next] ───────────────────▶ [next is current, old one still trusted]
//! ```
//! Invariant: a certificate signs only when it has been in the bundle for [`PUBLICATION`], except the very first.

use super::{Error, Facts, parameters};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

/// Life of an authority's certificate.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long the next authority is only trusted before it signs: longer than any kubelet takes to renew a mounted Secret.
const PUBLICATION: Duration = Duration::from_secs(86_400);

/// A certificate and its key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    certificate: String,
    key: String,
}

/// The certificate authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    current: Pair,
    next: Option<Pair>,
    bundle: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("next", &self.next.is_some()).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// If the random source fails.
    pub fn generate(now: SystemTime) -> Result<Self, Error> {
        let current = Pair::generate(now)?;
        Ok(Self { bundle: current.certificate.clone(), current, next: None })
    }

    /// Reads the data of the Secret `lodge-ca`.
    ///
    /// # Errors
    /// If something is missing or unreadable.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, Error> {
        let entry = |key: &str| data.get(key).filter(|text| !text.trim().is_empty()).cloned();
        let missing = |what| Error::Parse { what, reason: "it is missing".to_owned() };
        let current = Pair {
            certificate: entry("tls.crt").ok_or_else(|| missing("tls.crt"))?,
            key: entry("tls.key").ok_or_else(|| missing("tls.key"))?,
        };
        current.check()?;
        let next =
            entry("next.crt").zip(entry("next.key")).map(|(certificate, key)| Pair { certificate, key });
        next.as_ref().map_or(Ok(()), Pair::check)?;
        let bundle = entry("ca.crt").unwrap_or_else(|| current.certificate.clone());
        Ok(Self { current, next, bundle })
    }

    /// The data of the Secret `lodge-ca`.
    pub fn write(&self) -> BTreeMap<String, String> {
        let Self { current, next, bundle } = self;
        let mut data = BTreeMap::from([
            ("tls.crt".to_owned(), current.certificate.clone()),
            ("tls.key".to_owned(), current.key.clone()),
            ("ca.crt".to_owned(), bundle.clone()),
        ]);
        if let Some(next) = next {
            data.insert("next.crt".to_owned(), next.certificate.clone());
            data.insert("next.key".to_owned(), next.key.clone());
        }
        data
    }

    /// The certificates that everybody trusts, as PEM.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// The next state of the rotation, if it is time for one.
    ///
    /// # Errors
    /// If a certificate can't be read or made.
    pub fn advance(&self, now: SystemTime) -> Result<Option<Self>, Error> {
        let facts = self.facts()?;
        if facts.is_expired(now) {
            return Self::generate(now).map(Some);
        }
        let Some(next) = &self.next else {
            if facts.is_old(now) {
                let next = Pair::generate(now)?;
                let bundle = join(&self.current.certificate, &next.certificate);
                return Ok(Some(Self { current: self.current.clone(), next: Some(next), bundle }));
            }
            // The predecessor stays trusted as long as it is valid; what it signed is renewed much sooner.
            let bundle = without_expired(&self.bundle, now);
            return Ok((bundle != self.bundle).then(|| Self { bundle, ..self.clone() }));
        };
        let published = now.checked_sub(PUBLICATION).unwrap_or(SystemTime::UNIX_EPOCH);
        if Facts::read("next.crt", &next.certificate)?.not_before > super::unix(published) {
            return Ok(None);
        }
        let bundle = join(&next.certificate, &self.current.certificate);
        Ok(Some(Self { current: next.clone(), next: None, bundle }))
    }

    pub(super) fn facts(&self) -> Result<Facts, Error> {
        Facts::read("tls.crt", &self.current.certificate)
    }

    pub(super) fn sign(
        &self,
        parameters: &CertificateParams,
        key: &KeyPair,
        name: &str,
    ) -> Result<String, Error> {
        let failed = |source| Error::Sign { name: name.to_owned(), source };
        let signing_key = KeyPair::from_pem(&self.current.key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&self.current.certificate, signing_key).map_err(failed)?;
        Ok(parameters.signed_by(key, &issuer).map_err(failed)?.pem())
    }
}

impl Pair {
    fn generate(now: SystemTime) -> Result<Self, Error> {
        const NAME: &str = "Lodge certificate authority";
        let failed = |source| Error::Sign { name: NAME.to_owned(), source };
        let mut parameters = parameters(Vec::new(), NAME, now, LIFE)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn check(&self) -> Result<(), Error> {
        let unreadable =
            |reason: &dyn fmt::Display| Error::Parse { what: "tls.key", reason: reason.to_string() };
        let facts = Facts::read("tls.crt", &self.certificate)?;
        let key = KeyPair::from_pem(&self.key).map_err(|error| unreadable(&error))?;
        if key.public_key_raw() == facts.public_key {
            Ok(())
        } else {
            Err(unreadable(&"it isn't the key of tls.crt"))
        }
    }
}

fn join(first: &str, second: &str) -> String {
    format!("{}\n{}\n", first.trim_end(), second.trim_end())
}

fn without_expired(bundle: &str, now: SystemTime) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let mut kept = String::new();
    for certificate in bundle.split_inclusive(END).filter(|text| text.contains(END)) {
        if !Facts::read("ca.crt", certificate).is_ok_and(|facts| facts.is_expired(now)) {
            kept.push_str(certificate.trim_start());
            kept.push('\n');
        }
    }
    if kept.trim_end() == bundle.trim_end() { bundle.to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn an_authority_survives_being_stored() {
        let authority = Authority::generate(start()).unwrap();
        assert_eq!(Authority::read(&authority.write()).unwrap(), authority);
        assert_eq!(authority.advance(start() + DAY).unwrap(), None);
    }

    #[test]
    fn an_old_authority_is_replaced_in_two_steps() {
        let old = Authority::generate(start()).unwrap();
        let later = start() + LIFE * 7 / 10;
        let published = old.advance(later).unwrap().unwrap();
        assert!(published.current == old.current);
        assert!(published.bundle().matches("BEGIN CERTIFICATE").count() == 2);
        assert_eq!(published.advance(later + DAY / 2).unwrap(), None, "nobody may know it yet");
        let replaced = published.advance(later + DAY + BACKDATED_AND_MORE).unwrap().unwrap();
        assert!(replaced.current != old.current);
        assert!(replaced.bundle().contains(old.current.certificate.trim_end()), "the old one stays trusted");
        let long_after = start() + LIFE + DAY;
        let settled = replaced.advance(long_after).unwrap().unwrap();
        assert_eq!(settled.bundle().matches("BEGIN CERTIFICATE").count(), 1);
        assert_eq!(settled.advance(long_after).unwrap(), None);
    }
    const BACKDATED_AND_MORE: Duration = Duration::from_secs(600);

    #[test]
    fn an_expired_authority_is_replaced_at_once() {
        let old = Authority::generate(start()).unwrap();
        let new = old.advance(start() + LIFE + DAY).unwrap().unwrap();
        assert!(new.current != old.current);
    }

    #[test]
    fn a_damaged_secret_is_refused() {
        let good = Authority::generate(start()).unwrap().write();
        for key in ["tls.crt", "tls.key"] {
            let mut data = good.clone();
            data.insert(key.to_owned(), "nonsense".to_owned());
            assert!(Authority::read(&data).is_err(), "{key}");
            data.remove(key);
            assert!(Authority::read(&data).is_err(), "{key}");
        }
        let mut foreign = good.clone();
        foreign.insert("tls.key".to_owned(), Authority::generate(start()).unwrap().current.key);
        assert!(Authority::read(&foreign).is_err());
    }

    #[test]
    fn a_key_is_never_printed() {
        let printed = format!("{:?}", Authority::generate(start()).unwrap());
        assert!(!printed.contains("KEY"), "{printed}");
    }
}
