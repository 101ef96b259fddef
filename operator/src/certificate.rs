//! Lodge's own certificates: one authority, and what it signs.
//!
//! The authority lives in the Secret `lodge-ca`. It signs the operator's client certificate (held in memory only), the
//! gateway's and, per workspace namespace, the runners'. A certificate is renewed when less than a third of its life is
//! left; the authority is replaced in two steps, so that everybody trusts the next one before it signs anything.
//!
//! [`authority`] and [`leaf`] are pure: time and present state come in, the wanted state goes out. [`system`] writes
//! Secrets and the ConfigMap of Lodge's own namespace. Nothing here logs a key.

pub mod authority;
pub mod leaf;
pub mod system;

pub use authority::Authority;
pub use leaf::{Leaf, Purpose};

use rcgen::date_time_ymd;
use std::time::{Duration, SystemTime};
use x509_parser::{certificate::X509Certificate, pem::Pem};

/// What can go wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate could not be made.
    #[error("could not make a certificate for {name}: {source}")]
    Sign {
        /// Whom it was for.
        name: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// A stored certificate or key can't be read.
    #[error("could not read {what}: {reason}")]
    Parse {
        /// Which.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

/// Clocks of other machines may lag behind ours by this much.
const BACKDATED: Duration = Duration::from_secs(300);

/// When a certificate is valid, and who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    not_before: i64,
    not_after: i64,
    names: Vec<String>,
    key_id: Vec<u8>,
    authority_key_id: Vec<u8>,
    public_key: Vec<u8>,
}

impl Facts {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// If there is none.
    pub fn read(what: &'static str, pem: &str) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::Parse { what, reason };
        let first = Pem::iter_from_buffer(pem.as_bytes())
            .next()
            .ok_or_else(|| unreadable("it holds no certificate".to_owned()))?
            .map_err(|error| unreadable(error.to_string()))?;
        let certificate = first.parse_x509().map_err(|error| unreadable(error.to_string()))?;
        Ok(Self::of(&certificate))
    }

    fn of(certificate: &X509Certificate<'_>) -> Self {
        use x509_parser::extensions::{GeneralName, ParsedExtension};
        let mut facts = Self {
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            names: Vec::new(),
            key_id: Vec::new(),
            authority_key_id: Vec::new(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => facts.key_id = id.0.to_vec(),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    facts.authority_key_id =
                        id.key_identifier.as_ref().map(|id| id.0.to_vec()).unwrap_or_default();
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    facts.names.extend(names.general_names.iter().filter_map(|name| match name {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        GeneralName::IPAddress(bytes) => address(bytes),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
        facts
    }

    /// Whether less than a third of the life is left.
    pub fn is_old(&self, now: SystemTime) -> bool {
        let (life, left) = (self.not_after - self.not_before, self.not_after - unix(now));
        left.saturating_mul(3) < life
    }

    /// Whether it is no longer valid.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.not_after <= unix(now)
    }

    /// Whether the holder of that certificate's key signed this one.
    pub fn is_signed_by(&self, authority: &Self) -> bool {
        !self.authority_key_id.is_empty() && self.authority_key_id == authority.key_id
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let address: std::net::IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        16 => <[u8; 16]>::try_from(bytes).ok()?.into(),
        _ => return None,
    };
    Some(address.to_string())
}

fn unix(time: SystemTime) -> i64 {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Parameters every certificate of ours has, valid from (a little before) now on.
fn parameters(
    names: Vec<String>,
    common_name: &str,
    now: SystemTime,
    life: Duration,
) -> Result<rcgen::CertificateParams, Error> {
    let mut parameters = rcgen::CertificateParams::new(names)
        .map_err(|source| Error::Sign { name: common_name.to_owned(), source })?;
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let start = date_time_ymd(1970, 1, 1) + since_1970.saturating_sub(BACKDATED);
    parameters.not_before = start;
    parameters.not_after = start + life;
    parameters.use_authority_key_identifier_extension = true;
    let mut subject = rcgen::DistinguishedName::new();
    // X.520 allows a common name of 64 characters; clients look at the alternative names anyway.
    subject.push(rcgen::DnType::CommonName, common_name.chars().take(64).collect::<String>());
    subject.push(rcgen::DnType::OrganizationName, "lodge.dev");
    parameters.distinguished_name = subject;
    Ok(parameters)
}
