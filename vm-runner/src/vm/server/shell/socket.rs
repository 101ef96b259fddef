//! The beginning of a WebSocket: what a client has to send, and what it is answered (RFC 6455, section 4.2).

use http::StatusCode;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use vm_api::{Problem, ProblemCode};

use crate::http::{self as web, Response, header_text};

/// The version of the protocol.
const VERSION: &str = "13";

/// The answer that begins a WebSocket, or why there is none.
pub(crate) fn accept(headers: &HeaderMap) -> Result<Response, Problem> {
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        return Err(refuse("this route is a WebSocket: ask for an upgrade to it"));
    }
    if header_text(headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        return Err(refuse("the WebSocket version must be 13"));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return Err(refuse("sec-websocket-key is missing"));
    };
    let accept = derive_accept_key(key.as_bytes());
    let accept = HeaderValue::try_from(accept).map_err(|_| refuse("sec-websocket-key is not usable"))?;
    let mut response = web::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

fn refuse(detail: &str) -> Problem {
    Problem::new(ProblemCode::UpgradeRequired, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_key_of_the_standard_is_answered_as_there() {
        let response = accept(&headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]));
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_request_that_is_no_websocket_is_told_so() {
        for pairs in [
            &[][..],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "8")],
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")],
        ] {
            assert_eq!(accept(&headers(pairs)).unwrap_err().status, 426, "{pairs:?}");
        }
    }
}
