//! The way to the API server: one HTTP/2 connection, kept alive, without Nagle's algorithm.
//!
//! kube's own stack speaks HTTP/1.1 and leaves Nagle's algorithm on. Then a burst of writes is a burst of TLS handshakes, a
//! write after a pause is a handshake, too, and each handshake may wait 40 ms for a delayed acknowledgement: more than a
//! Workspace may take to be Ready altogether. Everything else (credentials, impersonation, server names) is kube's.

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
};
use std::time::Duration;
use tower::{BoxError, ServiceBuilder};

/// How often a quiet connection is tried, and how long the answer may take: a lost one is noticed, and watches begin anew.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The credentials can't be used.
    #[error("the credentials for the API server can't be used: {0}")]
    Credentials(#[from] kube::Error),
    /// The name to expect in the server's certificate is none.
    #[error("{0:?} is no server name: correct tls-server-name in the kubeconfig")]
    ServerName(String),
}

/// Makes a client. Nothing is sent yet.
///
/// # Errors
/// If the credentials or names in the configuration can't be used.
pub fn build_client(config: Config) -> Result<Client, Error> {
    if config.proxy_url.is_some() {
        return Ok(Client::try_from(config)?);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let mut tls =
        HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|_| Error::ServerName(name.clone()))?;
        tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let client: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        .http2_keep_alive_while_idle(true)
        .build(tls.enable_all_versions().wrap_connector(connector));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace))
}
