//! Certificates of Lodge's own namespace: the Secret `lodge-ca`, the gateway's Secret, and the ConfigMap by which clients learn
//! whom to trust. Only the leader runs this.

use super::{
    Authority, Leaf, Purpose,
    leaf::{GATEWAY_NAME, OPERATOR_NAME},
};
use crate::{
    apply, args::GatewayConfig, context::Context, runner::name::TLS_SECRET, runner_client::HttpRunnerClient,
};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use lodge_crds::label;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// The Secret with the authority.
const CA_SECRET: &str = "lodge-ca";
/// The Secret with the gateway's certificate.
const GATEWAY_SECRET: &str = "lodge-gateway-tls";
/// The ConfigMap that tells clients how to reach the gateway and whom to trust.
const GATEWAY_CONFIG_MAP: &str = "lodge-gateway";
/// The gateway's Service.
pub const GATEWAY_SERVICE: &str = "lodge-gateway";

/// How often everything is looked at.
const INTERVAL: Duration = Duration::from_secs(60);

/// Why the certificates are not as they shall be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object could not be read or written.
    #[error("could not {verb} {name}: {source}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// With which object.
        name: &'static str,
        /// Why not.
        source: kube::Error,
    },
    /// The Secret with the authority is damaged.
    #[error("the Secret {CA_SECRET} is damaged ({0}): restore it, or delete it to have a new authority made")]
    Damaged(super::Error),
    /// A certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] super::Error),
    /// The operator's own certificate can't be used.
    #[error("the operator's certificate can't be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// An object could not be applied.
    #[error(transparent)]
    Apply(#[from] apply::Error),
}

/// Keeps the certificates as they shall be, for ever.
pub async fn run(context: &Context, client: &HttpRunnerClient, mut operator: Leaf) {
    loop {
        sleep(INTERVAL).await;
        match ensure(context, client, Some(operator.clone())).await {
            Ok(leaf) => operator = leaf,
            Err(error) => tracing::error!(%error, "could not renew the certificates, trying again"),
        }
    }
}

/// Makes the certificates, however long that takes. Returns the operator's own.
pub async fn prepare(context: &Context, client: &HttpRunnerClient) -> Leaf {
    let mut pause = Duration::from_secs(1);
    loop {
        match ensure(context, client, None).await {
            Ok(leaf) => return leaf,
            Err(error) => tracing::error!(%error, "could not make the certificates, trying again"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(INTERVAL);
    }
}

/// Looks at every certificate once, and makes or renews what needs to be. Returns the operator's own.
async fn ensure(context: &Context, client: &HttpRunnerClient, operator: Option<Leaf>) -> Result<Leaf, Error> {
    let now = context.clock.now();
    let authority = ensure_authority(context).await?;
    let names = [OPERATOR_NAME.to_owned()];
    let renewed = Leaf::renew(operator.clone(), &authority, &names, Purpose::Client, now)?;
    if operator.as_ref() != Some(&renewed) {
        client.set_certificate(&renewed)?;
    }
    ensure_gateway(context, &authority).await?;
    if context.authority.set(authority) {
        // Every namespace gets the new bundle.
        let namespaces = context.stores.namespaces.state();
        context.namespaces_due.extend(namespaces.iter().map(|namespace| {
            kube::runtime::reflector::ObjectRef::new(namespace.metadata.name.as_deref().unwrap_or_default())
        }));
    }
    Ok(renewed)
}

async fn ensure_authority(context: &Context) -> Result<Authority, Error> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &context.config.namespace);
    let failed = |verb| move |source| Error::Api { verb, name: CA_SECRET, source };
    let Some(mut secret) = api.get_opt(CA_SECRET).await.map_err(failed("read"))? else {
        let authority = Authority::generate(context.clock.now())?;
        let secret = Secret {
            metadata: metadata(&context.config.namespace, CA_SECRET),
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(bytes(authority.write())),
            ..Secret::default()
        };
        context.metrics.wrote("secrets", "create");
        // If somebody was quicker this fails, and theirs is read next time.
        api.create(&PostParams::default(), &secret).await.map_err(failed("create"))?;
        tracing::info!("made a new certificate authority");
        return Ok(authority);
    };
    let data = secret.data.take().unwrap_or_default();
    let text = |value: ByteString| String::from_utf8(value.0).unwrap_or_default();
    let authority = Authority::read(&data.into_iter().map(|(key, value)| (key, text(value))).collect())
        .map_err(Error::Damaged)?;
    let Some(next) = authority.advance(context.clock.now())? else { return Ok(authority) };
    secret.data = Some(bytes(next.write()));
    context.metrics.wrote("secrets", "replace");
    // Carries the version that was read: of two who try, one fails.
    api.replace(CA_SECRET, &PostParams::default(), &secret).await.map_err(failed("replace"))?;
    tracing::info!("took the next step in replacing the certificate authority");
    Ok(next)
}

async fn ensure_gateway(context: &Context, authority: &Authority) -> Result<(), Error> {
    let namespace = &context.config.namespace;
    let unread = |name| move |source| Error::Api { verb: "read", name, source };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let live = api.get_opt(GATEWAY_SECRET).await.map_err(unread(GATEWAY_SECRET))?;
    let text = |value: &ByteString| String::from_utf8(value.0.clone()).unwrap_or_default();
    let data = live.as_ref().and_then(|secret| secret.data.as_ref());
    let present = data
        .and_then(|data| Leaf::read(&data.iter().map(|(key, value)| (key.clone(), text(value))).collect()));
    let names = gateway_names(namespace, &context.config.gateway);
    let leaf = Leaf::renew(present, authority, &names, Purpose::ClientAndServer, context.clock.now())?;
    let secret = Secret {
        metadata: metadata(namespace, GATEWAY_SECRET),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(bytes(leaf.write())),
        ..Secret::default()
    };
    context.applier.apply(&secret, live.as_ref()).await?;

    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let live = api.get_opt(GATEWAY_CONFIG_MAP).await.map_err(unread(GATEWAY_CONFIG_MAP))?;
    let mut data = BTreeMap::from([("ca.crt".to_owned(), authority.bundle().to_owned())]);
    data.extend(context.config.gateway.address.clone().map(|address| ("address".to_owned(), address)));
    let stale = live.as_ref().is_some_and(|live| live.data.as_ref() != Some(&data));
    let config_map = ConfigMap {
        metadata: metadata(namespace, GATEWAY_CONFIG_MAP),
        data: Some(data),
        ..ConfigMap::default()
    };
    // An address that was taken back has to go, which a comparison of what is wanted doesn't see.
    context.applier.apply(&config_map, live.as_ref().filter(|_| !stale)).await?;
    Ok(())
}

/// Whether Secrets of this name are Lodge's own. They hold the keys of its certificates: nobody may have them in a workspace, least
/// of all the authority's, by which one could become the gateway of every namespace.
pub fn is_own_secret(name: &str) -> bool {
    [CA_SECRET, GATEWAY_SECRET, TLS_SECRET].contains(&name)
}

fn gateway_names(namespace: &str, config: &GatewayConfig) -> Vec<String> {
    let service = GATEWAY_SERVICE;
    let mut names = vec![
        GATEWAY_NAME.to_owned(),
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        "localhost".to_owned(),
    ];
    names.extend(config.dns_names.iter().cloned());
    let host = config.address.as_deref().and_then(|address| address.parse::<http::Uri>().ok());
    names.extend(host.and_then(|uri| uri.host().map(|host| host.trim_matches(['[', ']']).to_owned())));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([
            (label::APP_NAME.to_owned(), label::APPLICATION.to_owned()),
            (label::APP_COMPONENT.to_owned(), label::COMPONENT_GATEWAY.to_owned()),
            (label::APP_PART_OF.to_owned(), label::APPLICATION.to_owned()),
            (label::APP_MANAGED_BY.to_owned(), label::FIELD_MANAGER.to_owned()),
        ])),
        ..ObjectMeta::default()
    }
}

fn bytes(data: BTreeMap<String, String>) -> BTreeMap<String, ByteString> {
    data.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_certificate_covers_its_service_and_what_it_was_told() {
        let config = GatewayConfig {
            address: Some("https://lodge.example.com:8443".to_owned()),
            dns_names: vec!["10.0.0.7".to_owned(), "localhost".to_owned()],
        };
        let names = gateway_names("lodge-system", &config);
        for name in
            ["gateway.lodge.internal", "lodge-gateway.lodge-system.svc", "10.0.0.7", "lodge.example.com"]
        {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        assert_eq!(names.iter().filter(|name| *name == "localhost").count(), 1);
    }
}
