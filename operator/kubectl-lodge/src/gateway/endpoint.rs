//! Where the gateway is: an address, or a port-forward to one of its pods.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::{StatusCode, Uri};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::client::UpgradeConnectionError;
use kube::{Api, Client, ResourceExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::cluster::{api_error, is_ready};
use crate::error::Error;

const POD_SELECTOR: &str = "app.kubernetes.io/name=lodge-gateway";
/// Port of the gateway's pods.
const POD_PORT: u16 = 8443;

/// Where to connect to.
pub(super) enum Endpoint {
    Address {
        host: String,
        port: u16,
    },
    Pod {
        client: Client,
        namespace: String,
        /// The pod that was ready last; another is looked for when it fails.
        name: Mutex<String>,
    },
}

/// Bytes in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Endpoint {
    /// A pod of the gateway that is ready.
    pub(super) async fn pod(client: Client, lodge: &str) -> Result<Self, Error> {
        let name = Mutex::new(find_pod(&client, lodge).await?);
        Ok(Self::Pod { client, namespace: lodge.to_owned(), name })
    }

    pub(super) fn host(&self) -> String {
        match self {
            Self::Address { host, port } => format!("{host}:{port}"),
            Self::Pod { namespace, .. } => format!("lodge-gateway.{namespace}.svc"),
        }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let unreachable = |why: String| Error::Unreachable { at: self.to_string(), why };
        match self {
            Self::Address { host, port } => {
                let tcp = TcpStream::connect((host.trim_matches(['[', ']']), *port))
                    .await
                    .map_err(|error| unreachable(error.to_string()))?;
                tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
                Ok(Box::new(tcp))
            }
            Self::Pod { client, namespace, name } => {
                let last = pod_name(name);
                match forward(client, namespace, &last).await {
                    Ok(stream) => Ok(stream),
                    Err(error) => {
                        // It may be gone: another one does as well.
                        let next = find_pod(client, namespace).await?;
                        if next == last {
                            return Err(error);
                        }
                        let stream = forward(client, namespace, &next).await?;
                        *name.lock().unwrap_or_else(PoisonError::into_inner) = next;
                        Ok(stream)
                    }
                }
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { host, port } => write!(f, "https://{host}:{port}"),
            Self::Pod { namespace, name, .. } => {
                write!(f, "pod {namespace}/{} (by port-forward)", pod_name(name))
            }
        }
    }
}

fn pod_name(name: &Mutex<String>) -> String {
    name.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn forward(client: &Client, namespace: &str, name: &str) -> Result<Box<dyn Stream>, Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let forward = pods.portforward(name, &[POD_PORT]).await;
    let mut forward = forward.map_err(|error| forward_error(error, namespace))?;
    let stream = forward.take_stream(POD_PORT).ok_or_else(|| Error::Unreachable {
        at: format!("pod {namespace}/{name}"),
        why: "the port-forward has no stream".to_owned(),
    })?;
    Ok(Box::new(stream))
}

async fn find_pod(client: &Client, lodge: &str) -> Result<String, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), lodge);
    let pods = api.list(&ListParams::default().labels(POD_SELECTOR)).await.map_err(|error| {
        api_error(error, &format!("list pods in namespace {lodge}; {}", forward_permissions(lodge)))
    })?;
    let ready = pods.items.into_iter().find(is_ready).ok_or_else(|| Error::NoGatewayPod(lodge.to_owned()))?;
    Ok(ready.name_any())
}

/// What a port-forward needs, and how to do without.
fn forward_permissions(lodge: &str) -> String {
    // An upgrade of a GET, for which newer API servers ask for create.
    format!(
        "to reach the gateway by port-forward you need `list pods`, and `get` and `create pods/portforward`, in namespace \
         {lodge} (or let an administrator give it an address: chart value gateway.address)"
    )
}

/// Puts the failure of a port-forward into words. A refused upgrade has a status and no document.
fn forward_error(error: kube::Error, lodge: &str) -> Error {
    let doing = format!("forward a port to pods in namespace {lodge}; {}", forward_permissions(lodge));
    match error {
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(StatusCode::FORBIDDEN)) => {
            Error::Api(format!("you may not {doing}"))
        }
        other => api_error(other, &doing),
    }
}

/// Reads `https://HOST[:PORT]` or `HOST[:PORT]`.
pub(super) fn parse_address(address: &str) -> Result<(String, u16), Error> {
    let refused = || Error::Address(address.to_owned());
    let full = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let uri: Uri = full.parse().map_err(|_| refused())?;
    if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(refused());
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(refused)?;
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        for (address, host, port) in [
            ("https://lodge.example.com", "lodge.example.com", 443),
            ("https://lodge.example.com:8443/", "lodge.example.com", 8443),
            ("10.0.0.7:8443", "10.0.0.7", 8443),
            ("https://[::1]:8443", "[::1]", 8443),
        ] {
            assert_eq!(parse_address(address).unwrap(), (host.to_owned(), port), "{address}");
        }
    }

    #[test]
    fn an_address_that_would_send_the_token_elsewhere_is_refused() {
        for address in ["http://lodge.example.com", "https://x/path", "https://", "", "https://x?y"] {
            assert!(parse_address(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_refused_port_forward_names_every_permission_that_it_needs() {
        let refused = UpgradeConnectionError::ProtocolSwitch(StatusCode::FORBIDDEN);
        let error = forward_error(kube::Error::UpgradeConnection(refused), "lodge-system").to_string();
        for part in
            ["you may not", "`list pods`", "`get` and `create pods/portforward`", "namespace lodge-system"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
