//! A peer of runners: speaks to a runner directly, with a certificate of Lodge's own authority and any name in it.
//!
//! What nobody can do who has no right to read the Secret `lodge-ca`; tests use it to be the operator, an operator of
//! yesterday, or the gateway.

use crate::cluster::{Cluster, SYSTEM_NAMESPACE};
use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use std::sync::Arc;
use tokio::net::TcpStream;

/// A certificate with its key, and whom to trust; all PEM.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The authority.
    pub authority: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl Certificate {
    /// Issued by Lodge's own authority for a name.
    ///
    /// # Errors
    /// If the authority can't be read.
    pub fn issue(cluster: &Cluster, name: &str) -> Result<Self> {
        Self::issue_for(cluster, &[name.to_owned()])
    }

    /// Issued by Lodge's own authority for several names, as a client and as a server.
    ///
    /// # Errors
    /// If the authority can't be read.
    pub fn issue_for(cluster: &Cluster, names: &[String]) -> Result<Self> {
        let authority = secret(cluster, "lodge-ca", "tls.crt")?;
        let authority_key = KeyPair::from_pem(&secret(cluster, "lodge-ca", "tls.key")?)?;
        let issuer = Issuer::from_ca_cert_pem(&authority, authority_key)?;
        let mut parameters = CertificateParams::new(names.to_vec())?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &issuer)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem(), authority })
    }

    /// The TLS of a client that shows it.
    ///
    /// # Errors
    /// If it is no good.
    pub fn client(&self) -> Result<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let chain =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        Ok(builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes())?)?)
    }
}

/// A field of a Secret in Lodge's own namespace, decoded.
///
/// # Errors
/// If it is not there.
pub fn secret(cluster: &Cluster, name: &str, field: &str) -> Result<String> {
    let path = format!(".data.{}", field.replace('.', "\\."));
    let encoded = cluster.field(SYSTEM_NAMESPACE, &format!("secret/{name}"), &path)?;
    Ok(String::from_utf8(STANDARD.decode(encoded.trim())?)?)
}

/// Sends one request to a runner's pod, as whoever the certificate names.
///
/// # Errors
/// If the runner can't be reached.
pub async fn ask(
    cluster: &Cluster,
    peer: &Certificate,
    (namespace, pod): (&str, &str),
    (method, path): (&str, &str),
    body: Vec<u8>,
) -> Result<(StatusCode, String)> {
    let address = cluster.field(namespace, &format!("pod/{pod}"), ".status.podIP")?;
    let tcp = TcpStream::connect((address.as_str(), 7443)).await.context("connecting to the runner")?;
    let name = format!("{pod}.lodge-runner.{namespace}.svc");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(peer.client()?));
    let stream = connector.connect(ServerName::try_from(name.clone())?, tcp).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(async move { drop(connection.await) });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", name)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
