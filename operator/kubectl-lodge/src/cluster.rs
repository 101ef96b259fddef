//! The cluster and the user of the kubeconfig: a client for the Kubernetes API, and the same credentials for the gateway.

use std::io::IsTerminal as _;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use kube::Client;
use kube::client::ConfigExt as _;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls::ClientConfig;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::args::ClusterArgs;
use crate::error::{Error, causes};
use crate::place::check_name;
use crate::plugin;

/// A cluster, as somebody.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// Namespace to work in.
    pub(crate) namespace: String,
    /// What to prove to the gateway who this is.
    pub(crate) credentials: Credentials,
}

/// What the kubeconfig's user has.
pub(crate) struct Credentials {
    /// A bearer token, as a header.
    pub(crate) authorization: Option<HeaderValue>,
    /// A TLS configuration with the client certificate, if there is one. Whom it trusts is not for the gateway.
    pub(crate) tls: ClientConfig,
}

impl Cluster {
    /// The cluster and user that the arguments choose.
    pub(crate) async fn load(args: &ClusterArgs) -> Result<Self, Error> {
        // The Kubernetes client asks for the process's provider; there is only one in this program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = read(args).await?;
        if let Some(user) = &config.auth_info.impersonate {
            return Err(Error::Impersonation(user.clone()));
        }
        plugin::resolve(&mut config.auth_info, std::io::stdin().is_terminal())?;
        let credentials = credentials(&config).await?;
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        check_name("namespace", &namespace)?;
        let client = Client::try_from(config).map_err(|error| Error::Kubeconfig(error.into()))?;
        Ok(Self { client, namespace, credentials })
    }
}

async fn read(args: &ClusterArgs) -> Result<Config, Error> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        cluster: args.cluster.clone(),
        user: args.user.clone(),
    };
    let kubeconfig = match &args.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    match kubeconfig {
        Ok(kubeconfig) => {
            check_choice(&kubeconfig, args).map_err(|why| Error::Kubeconfig(why.into()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| Error::Kubeconfig(error.into()))
        }
        // In a pod there is no kubeconfig, and none is needed.
        Err(error) if args.kubeconfig.is_none() => Config::incluster().map_err(|_| unreadable(error)),
        Err(error) => Err(unreadable(error)),
    }
}

fn unreadable(error: KubeconfigError) -> Error {
    Error::Kubeconfig(match error {
        KubeconfigError::ReadConfig(error, path) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("there is no kubeconfig {}", path.display()).into()
        }
        other => other.into(),
    })
}

/// Checks that the kubeconfig has what is chosen. A user that it does not have would be nobody, and a stranger to the cluster.
fn check_choice(kubeconfig: &Kubeconfig, args: &ClusterArgs) -> Result<(), String> {
    let Kubeconfig { contexts, clusters, auth_infos, current_context, .. } = kubeconfig;
    let contexts: Vec<&str> = contexts.iter().map(|context| context.name.as_str()).collect();
    let clusters: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    let users: Vec<&str> = auth_infos.iter().map(|user| user.name.as_str()).collect();
    let context = args.context.as_ref().or(current_context.as_ref()).filter(|name| !name.is_empty());
    let Some(context) = context else {
        return Err(format!("the kubeconfig has no current context: {}", choice("contexts", &contexts)));
    };
    check_has("context", context, &contexts)?;
    let named = kubeconfig.contexts.iter().find(|named| named.name == *context);
    let named = named.and_then(|named| named.context.as_ref());
    let cluster = args.cluster.as_ref().or(named.map(|context| &context.cluster));
    cluster.map_or(Ok(()), |cluster| check_has("cluster", cluster, &clusters))?;
    // A context without a user is for clusters that know nobody.
    let user = args.user.as_ref().or(named.and_then(|context| context.user.as_ref()));
    user.filter(|user| !user.is_empty()).map_or(Ok(()), |user| check_has("user", user, &users))
}

fn check_has(kind: &str, name: &str, names: &[&str]) -> Result<(), String> {
    if names.contains(&name) {
        return Ok(());
    }
    Err(format!("the kubeconfig has no {kind} {name:?}: {}", choice(&format!("{kind}s"), names)))
}

fn choice(kinds: &str, names: &[&str]) -> String {
    if names.is_empty() {
        format!("it has no {kinds} at all")
    } else {
        format!("its {kinds} are {}", names.join(", "))
    }
}

async fn credentials(config: &Config) -> Result<Credentials, Error> {
    let authorization = authorization(config).await?;
    if authorization.as_ref().is_some_and(|value| value.as_bytes().starts_with(b"Basic ")) {
        return Err(Error::BasicAuth);
    }
    let tls = config.rustls_client_config().map_err(|error| Error::Kubeconfig(error.into()))?;
    Ok(Credentials { authorization, tls })
}

/// The header that the Kubernetes client would send: whatever kind of token the kubeconfig has, one place knows it.
async fn authorization(config: &Config) -> Result<Option<HeaderValue>, Error> {
    let Some(layer) = config.auth_layer().map_err(|error| Error::Kubeconfig(error.into()))? else {
        return Ok(None);
    };
    let mirror = service_fn(|request: Request<String>| async move {
        let mut response = Response::new(());
        if let Some(value) = request.headers().get(AUTHORIZATION) {
            response.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        Ok::<_, tower::BoxError>(response)
    });
    let mirrored =
        layer.layer(mirror).oneshot(Request::new(String::new())).await.map_err(Error::Kubeconfig)?;
    Ok(mirrored.headers().get(AUTHORIZATION).cloned())
}

/// Puts an error of the Kubernetes API into words. `doing` completes "you may not …".
pub(crate) fn api_error(error: kube::Error, doing: &str) -> Error {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            Error::Api(format!("you may not {doing}: {}", status.message))
        }
        kube::Error::Api(status) if status.code == 401 => Error::Api(
            "the cluster does not accept the kubeconfig's credentials: log in again, then see `kubectl auth whoami`"
                .to_owned(),
        ),
        // The server has answered; a proxy before it may do so without a Status.
        kube::Error::Api(status) => {
            Error::Api(format!("the cluster's API server refused: {} (status {})", status.message, status.code))
        }
        kube::Error::Service(error) => Error::Api(format!(
            "the cluster's API server cannot be reached: {}; see `kubectl cluster-info`, or choose another with --context",
            causes(&*error)
        )),
        other => Error::Api(format!("the cluster's API server could not be asked: {}", causes(&other))),
    }
}

/// Whether an object's condition `Ready` is true.
pub(crate) fn is_ready(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn credentials_of(user: &str) -> Result<Credentials, Error> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u, namespace: team-a}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:1'}}}}]\n\
             users: [{{name: u, user: {user}}}]\n"
        );
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = Kubeconfig::from_yaml(&text).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        assert_eq!(config.default_namespace, "team-a");
        credentials(&config).await
    }

    fn token(credentials: &Credentials) -> Option<&str> {
        credentials.authorization.as_ref().map(|value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn a_token_of_the_kubeconfig_is_taken_to_the_gateway() {
        let credentials = credentials_of("{token: abc}").await.unwrap();
        assert_eq!(token(&credentials), Some("Bearer abc"));
        assert!(credentials.authorization.unwrap().is_sensitive());
    }

    #[tokio::test]
    async fn a_token_file_of_the_kubeconfig_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file").unwrap();
        let user = format!("{{tokenFile: '{}'}}", file.path().display());
        assert_eq!(token(&credentials_of(&user).await.unwrap()), Some("Bearer from-file"));
    }

    #[tokio::test]
    async fn a_certificate_of_the_kubeconfig_is_taken_to_the_gateway() {
        let made = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
        use base64::Engine as _;
        let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
        let user = format!(
            "{{client-certificate-data: {}, client-key-data: {}}}",
            encode(made.cert.pem()),
            encode(made.signing_key.serialize_pem())
        );
        let credentials = credentials_of(&user).await.unwrap();
        assert_eq!(token(&credentials), None);
        assert!(credentials.tls.client_auth_cert_resolver.has_certs());
    }

    #[tokio::test]
    async fn a_user_without_credentials_has_none() {
        let credentials = credentials_of("{}").await.unwrap();
        assert_eq!(token(&credentials), None);
        assert!(!credentials.tls.client_auth_cert_resolver.has_certs());
    }

    #[tokio::test]
    async fn a_password_is_refused_because_the_gateway_takes_none() {
        assert!(matches!(credentials_of("{username: a, password: b}").await, Err(Error::BasicAuth)));
    }
}
