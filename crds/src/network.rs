//! What a Workspace may reach, and what may reach it.
//!
//! Invariant: nothing is reachable that isn't allowed here. What "allowed" means at the moment of connecting (names
//! resolved, private ranges) is the supervisor's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use crate::{
    Duration,
    schema::{duration_between, list_atomic, rules},
    text::text,
};

text! {
    /// A host name in lower case, or all names below one with `*.` in front.
    HostPattern: "host", max 253,
    rule "self.matches(r'^([*][.])?([a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?[.])*[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",
    else "write a host name in lower case such as api.example.com, or *.example.com for all names below one; \
          use cidr for addresses and ports for ports",
    if is_host_pattern
}

text! {
    /// A range of IP addresses.
    Cidr: "range of addresses", max 43,
    rule "isCIDR(self) && cidr(self) == cidr(self).masked()",
    else "write a range such as 10.0.0.0/8 or 2001:db8::/32, with no bits set behind its prefix; 10.1.2.3/32 is a single address",
    if is_cidr
}

/// The network of a Workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Network {
    /// What the guest may connect to.
    pub egress: Egress,
    /// How ports of the guest are published.
    pub preview: Preview,
}

/// What the guest may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Egress {
    /// What happens to connections that no item of allow matches. Deny: they fail. Allow: they are made, except to
    /// addresses of private, link-local and metadata ranges, which always need an item. Default: Deny.
    pub policy: EgressPolicy,
    /// What the guest may connect to in any case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_atomic(256))]
    pub allow: Vec<EgressRule>,
}

/// What happens to connections that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EgressPolicy {
    /// They fail.
    #[default]
    Deny,
    /// They are made, except to private ranges.
    Allow,
}

/// A destination that the guest may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[(
    "has(self.host) != has(self.cidr)",
    "exactly one of host and cidr must be set: write an item for each",
)]))]
pub struct EgressRule {
    /// A host name, or *. and a host name for all names below it. Names are compared before they are resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPattern>,
    /// A range of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// The ports, from 1 to 65535. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = ports)]
    pub ports: Vec<u16>,
}

fn ports(schema: &mut schemars::Schema) {
    schema.insert("x-kubernetes-list-type".to_owned(), "set".into());
    schema.insert("maxItems".to_owned(), 32.into());
    if let Some(items) = schema.get_mut("items").and_then(|items| items.as_object_mut()) {
        items.insert("minimum".to_owned(), 1.into());
        items.insert("maximum".to_owned(), 65535.into());
    }
}

/// How ports of the guest are published under signed URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Preview {
    /// Whether previews may be made at all. Default: true.
    pub enabled: bool,
    /// The longest that a preview may live, at most 24h. Default: 24h.
    #[schemars(transform = duration_between("1m", "24h"))]
    pub max_expiry: Duration,
    /// Whether pages of other origins may read previews. Default: true.
    pub cors: bool,
}

impl Default for Preview {
    fn default() -> Self {
        Self { enabled: true, max_expiry: Duration::from_hours(24), cors: true }
    }
}

fn is_host_pattern(host: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(allowed)
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.split('.').all(is_part) && last.starts_with(|c: char| c.is_ascii_lowercase()) && !last.contains('_')
}

/// Whether it is an address and a prefix length behind which no bit is set. IPv4 inside IPv6 and zones are refused, as
/// the API server does.
fn is_cidr(range: &str) -> bool {
    let Some((address, length)) = range.split_once('/') else { return false };
    let plain = !length.is_empty()
        && length.bytes().all(|b| b.is_ascii_digit())
        && !(length.len() > 1 && length.starts_with('0'));
    match (address.parse(), length.parse::<u32>()) {
        (Ok(IpAddr::V4(address)), Ok(length)) => {
            plain && length <= 32 && address.to_bits().checked_shl(length).unwrap_or(0) == 0
        }
        (Ok(IpAddr::V6(address)), Ok(length)) => {
            let mapped = address.to_ipv4_mapped().is_some();
            plain && !mapped && length <= 128 && address.to_bits().checked_shl(length).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_stand_for_all_names_below_it() {
        for right in ["example.com", "*.github.com", "registry", "_dmarc.example.com", "a1.b2.svc"] {
            assert!(HostPattern::new(right).is_ok(), "{right:?}");
        }
        for wrong in
            ["*", "*.", "a.*.b", "10.0.0.1", "Example.com", "https://a.b", "a.b:443", "-a.b", "a..b", "a."]
        {
            assert!(HostPattern::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_range_has_no_bits_behind_its_prefix() {
        for right in ["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32", "2001:db8::/32", "::/0", "::1/128"] {
            assert!(Cidr::new(right).is_ok(), "{right:?}");
        }
        for wrong in
            ["10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::ffff:10.0.0.0/104", "10.0.0.0/08", "/8"]
        {
            assert!(Cidr::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
