//! Who is at the other end of a connection, and what they may do.
//!
//! The certificate authority vouches for the name; the name decides. A certificate with neither name may do nothing.

use http::Method;
use vm_api::header::{GATEWAY_IDENTITY, OPERATOR_IDENTITY};
use vm_api::{Problem, ProblemCode};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The operator: may do everything.
    Operator,
    /// The gateway: forwards the actions of users.
    Gateway,
    /// Whoever can connect to a server without TLS: may do everything.
    Developer,
    /// A client of the right authority with none of the names.
    Stranger,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Act in a workspace.
    Act,
    /// Read what this runner knows.
    Read,
    /// Say what workspaces there are.
    Bind,
    /// Begin and stop runs.
    Run,
}

impl Access {
    /// What a request to the workspace itself wants.
    pub(crate) fn of_workspace(method: &Method) -> Self {
        if *method == Method::GET { Self::Read } else { Self::Bind }
    }
}

impl Peer {
    /// Reads the name out of a verified client certificate.
    pub(crate) fn from_certificate(der: &[u8]) -> Self {
        let Ok((_, certificate)) = parse_x509_certificate(der) else { return Self::Stranger };
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return Self::Stranger };
        let names = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
        let mut peer = Self::Stranger;
        for name in names {
            match name {
                OPERATOR_IDENTITY => return Self::Operator,
                GATEWAY_IDENTITY => peer = Self::Gateway,
                _ => {}
            }
        }
        peer
    }

    /// Checks that this peer may do that.
    ///
    /// # Errors
    /// A problem that says who may.
    pub(crate) fn authorize(self, access: Access) -> Result<(), Problem> {
        match (self, access) {
            (Self::Operator | Self::Developer, _) | (Self::Gateway, Access::Act | Access::Read) => Ok(()),
            (Self::Gateway, Access::Bind) => Err(Problem::new(
                ProblemCode::Forbidden,
                format!("workspaces are created and deleted by {OPERATOR_IDENTITY} only"),
            )),
            (Self::Gateway, Access::Run) => Err(Problem::new(
                ProblemCode::Forbidden,
                format!("runs are begun and stopped by {OPERATOR_IDENTITY} only"),
            )),
            (Self::Stranger, _) => Err(Problem::new(
                ProblemCode::Forbidden,
                format!("the client certificate names neither {OPERATOR_IDENTITY} nor {GATEWAY_IDENTITY}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(names: &[&str]) -> Peer {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = rcgen::generate_simple_self_signed(names).unwrap();
        Peer::from_certificate(certificate.cert.der())
    }

    #[test]
    fn a_peer_is_who_its_certificate_names() {
        assert_eq!(peer(&["x", "operator.lodge.internal"]), Peer::Operator);
        assert_eq!(peer(&["lodge-gateway", "gateway.lodge.internal"]), Peer::Gateway);
        assert_eq!(peer(&["operator.lodge.internal.evil.example"]), Peer::Stranger);
        assert_eq!(Peer::from_certificate(b"garbage"), Peer::Stranger);
    }

    #[test]
    fn the_gateway_acts_but_never_binds() {
        assert!(Peer::Gateway.authorize(Access::Act).is_ok());
        assert!(Peer::Gateway.authorize(Access::Read).is_ok());
        for access in [Access::Bind, Access::Run] {
            let problem = Peer::Gateway.authorize(access).unwrap_err();
            assert!(problem.is(ProblemCode::Forbidden));
            assert!(problem.detail.contains("operator.lodge.internal"), "{}", problem.detail);
        }
    }

    #[test]
    fn a_stranger_may_do_nothing() {
        for access in [Access::Act, Access::Read, Access::Bind, Access::Run] {
            assert!(Peer::Stranger.authorize(access).is_err());
        }
    }
}
