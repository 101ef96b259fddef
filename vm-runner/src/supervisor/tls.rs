//! Mutual TLS: the server's certificate, the clients' authority, and both again when their files change.
#![expect(clippy::disallowed_methods, reason = "host-facing: reads the certificates that it was given")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}: {source}")]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error("{path}: {source}")]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("client certificates cannot be verified: {0}")]
    Verifier(#[from] VerifierBuilderError),
    #[error("{path} and its key do not fit: {source}")]
    Certificate { path: PathBuf, source: rustls::Error },
}

/// The current TLS settings.
#[derive(Clone)]
pub(crate) struct Tls {
    config: watch::Receiver<Arc<ServerConfig>>,
}

impl Tls {
    /// An acceptor with the settings of now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.borrow()))
    }
}

/// Loads the files; the future that comes with it loads them again whenever they change, for ever.
pub(crate) fn load(files: TlsFiles) -> Result<(Tls, impl Future<Output = ()> + Send), Error> {
    // Before the files are read, so that a change right after that is seen.
    let seen = fingerprint(&files);
    let (sender, config) = watch::channel(server_config(&files)?);
    Ok((Tls { config }, reload(files, seen, sender)))
}

async fn reload(files: TlsFiles, mut seen: Fingerprint, sender: watch::Sender<Arc<ServerConfig>>) {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let now = fingerprint(&files);
        if now == seen {
            continue;
        }
        match server_config(&files) {
            Ok(config) => {
                tracing::info!("certificates were loaded again");
                sender.send_replace(config);
                seen = now;
            }
            // Half written, perhaps: the old ones stay in use and the next look tries again.
            Err(error) => tracing::warn!(%error, "changed certificates cannot be used yet"),
        }
    }
}

/// Time of the last change and size of each file.
type Fingerprint = [Option<(SystemTime, u64)>; 3];

/// Changes with the files; Kubernetes replaces them by moving a link, which changes the time as well.
fn fingerprint(files: &TlsFiles) -> Fingerprint {
    [&files.certificate, &files.key, &files.client_authority].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(&files.client_authority)? {
        let path = files.client_authority.clone();
        authorities.add(certificate).map_err(|source| Error::Authority { path, source })?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider)).build()?;
    let path = files.certificate.clone();
    let chain = certificates(&path)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| Error::Pem { path: files.key.clone(), source })?;
    let fits = |source| Error::Certificate { path: path.clone(), source };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(fits)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(fits)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let broken = |source| Error::Pem { path: path.to_owned(), source };
    let list: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(broken)?.collect::<Result<_, _>>().map_err(broken)?;
    if list.is_empty() { Err(Error::Empty(path.to_owned())) } else { Ok(list) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_certificate_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.crt");
        std::fs::write(&file, "").unwrap();
        let files = TlsFiles { certificate: file.clone(), key: file.clone(), client_authority: file };
        let error = load(files).err().unwrap().to_string();
        assert!(error.contains("ca.crt holds no certificate"), "{error}");
    }
}
