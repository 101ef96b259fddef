//! Service account tokens that no API server would issue: expired, or signed by somebody else.
//!
//! The local cluster's own signing key lies in its state directory, so that a token can be right in everything but one
//! thing. What a real token says is taken over; only what the test wants is changed.

use crate::cluster::Cluster;
use anyhow::{Context, Result, ensure};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::Value;

/// Signs tokens as the cluster does, or as somebody who only says so.
pub struct Signer {
    key: EcdsaKeyPair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// With the key that the API server signs with.
    ///
    /// # Errors
    /// If the cluster's state has no such key, or of another kind.
    pub fn of_the_cluster(cluster: &Cluster) -> Result<Self> {
        let path = cluster.state.join("pki/service-accounts.key");
        let pem = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(base64)?;
        // RFC 5915: version, the private key's 32 bytes, the curve, and at the end the public point's 65 bytes.
        let head = [0x02, 0x01, 0x01, 0x04, 0x20];
        let begin = der.windows(5).position(|bytes| bytes == head).context("an EC private key")? + 5;
        ensure!(der.len() >= begin + 32 + 65, "the key is too short");
        let (private, public) = (&der[begin..begin + 32], &der[der.len() - 65..]);
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key =
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public, &SystemRandom::new());
        Ok(Self { key: key.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))? })
    }

    /// With a key of nobody's.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn stranger() -> Result<Self> {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document =
            EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| anyhow::anyhow!("no key"))?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random);
        Ok(Self { key: key.map_err(|error| anyhow::anyhow!("{error}"))? })
    }

    /// What a token says, changed and signed anew. The header stays, and with it the name of the key.
    ///
    /// # Errors
    /// If `token` is none.
    pub fn sign(&self, token: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
        let mut parts = token.split('.');
        let (header, claims) = parts.next().zip(parts.next()).context("a token has three parts")?;
        let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
        change(&mut claims);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| anyhow::anyhow!("the key does not sign"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
