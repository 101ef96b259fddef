//! The plain listeners for the cluster's own probes and scrapes: `/healthz`, `/readyz`, `/metrics`. They serve nothing that
//! needs authentication and forward nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use vm_api::route;

use crate::metrics;
use crate::spawn::Spawner;

/// Connections at once; probes and scrapes need two or three. When there are more the oldest one is closed: nobody who holds
/// connections without using them must keep out the kubelet, which would take the gateway for dead.
const CONNECTIONS: usize = 32;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the plain listeners tell.
pub(crate) trait Report: Send + Sync + 'static {
    /// Why the gateway cannot serve, if it cannot.
    fn not_ready(&self) -> Option<&'static str>;
    /// The metrics.
    fn metrics(&self) -> Result<String, std::fmt::Error>;
}

/// Serves until its task is stopped.
pub(crate) async fn serve(listener: TcpListener, report: Arc<dyn Report>, spawner: Spawner) {
    // The oldest first; a connection that has ended is cancelled.
    let mut open: VecDeque<CancellationToken> = VecDeque::with_capacity(CONNECTIONS);
    loop {
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                tracing::warn!(%error, "no probe accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_cancelled());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.cancel();
        }
        let connection = CancellationToken::new();
        open.push_back(connection.clone());
        let report = report.clone();
        spawner.spawn(async move {
            let _ended = connection.clone().drop_guard();
            connection.run_until_cancelled(converse(tcp, report)).await;
        });
    }
}

async fn converse(tcp: TcpStream, report: Arc<dyn Report>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), &*report);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(tcp), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "probe connection ended");
    }
}

fn answer(method: &Method, path: &str, report: &dyn Report) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if !matches!(*method, Method::GET | Method::HEAD) {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n".to_owned());
    }
    match path {
        route::HEALTHZ => respond(StatusCode::OK, TEXT, "ok\n".to_owned()),
        route::READYZ => match report.not_ready() {
            None => respond(StatusCode::OK, TEXT, "ok\n".to_owned()),
            Some(why) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        route::METRICS => match report.metrics() {
            Ok(text) => respond(StatusCode::OK, metrics::MEDIA_TYPE, text),
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("metrics: {error}\n")),
        },
        _ => respond(StatusCode::NOT_FOUND, TEXT, "there are /healthz, /readyz and /metrics\n".to_owned()),
    }
}

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Option<&'static str>);

    impl Report for Fixed {
        fn not_ready(&self) -> Option<&'static str> {
            self.0
        }
        fn metrics(&self) -> Result<String, std::fmt::Error> {
            Ok("# EOF\n".to_owned())
        }
    }

    #[test]
    fn a_gateway_that_cannot_serve_yet_is_alive_and_not_ready() {
        let report = Fixed(Some("the certificate is not loaded"));
        assert_eq!(answer(&Method::GET, "/healthz", &report).status(), StatusCode::OK);
        assert_eq!(answer(&Method::GET, "/readyz", &report).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(&Method::GET, "/readyz", &Fixed(None)).status(), StatusCode::OK);
    }

    #[test]
    fn there_is_nothing_else() {
        assert_eq!(answer(&Method::GET, "/metrics", &Fixed(None)).status(), StatusCode::OK);
        assert_eq!(answer(&Method::GET, "/v1/x", &Fixed(None)).status(), StatusCode::NOT_FOUND);
        assert_eq!(answer(&Method::POST, "/metrics", &Fixed(None)).status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
