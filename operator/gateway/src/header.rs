//! Which headers pass. Hop-by-hop headers end here, credentials are never handed on, and what Lodge or a proxy in front
//! of an API server would believe cannot be set by a client.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, Uri};
use vm_api::header::{REQUEST_ID, RESERVED_PREFIX, USER};

use crate::trace::Trace;

/// Headers about one connection.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// Headers with credentials or claims about who asks. `Host` is the gateway's, `Expect` was answered here.
///
/// The length is of the body that came; whoever sends a request on writes that of the body that goes. A length without its
/// body would make the runner take the next request on the same connection, which may be another user's, for the rest.
const WITHHELD: [HeaderName; 7] =
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, FORWARDED, HOST, EXPECT, CONTENT_LENGTH];
const WITHHELD_PREFIXES: [&str; 4] = [RESERVED_PREFIX, "x-remote-", "x-forwarded-", "impersonate-"];
/// Longest request ID taken over from a client.
const REQUEST_ID_LEN: usize = 128;

/// Removes from a request what does not pass, and adds who asks, under which ID and in which trace.
pub(crate) fn prepare_request(headers: &mut HeaderMap, user: &str, request_id: &HeaderValue, trace: &Trace) {
    strip_hop_by_hop(headers);
    for name in &WITHHELD {
        headers.remove(name);
    }
    let reserved: Vec<HeaderName> = headers
        .keys()
        .filter(|name| WITHHELD_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix)))
        .cloned()
        .collect();
    for name in reserved {
        headers.remove(name);
    }
    headers.insert(REQUEST_ID, request_id.clone());
    trace.write(headers);
    // A name that cannot be a header's value is escaped: it is for logs only.
    let value =
        HeaderValue::from_str(user).or_else(|_| HeaderValue::from_str(&user.escape_default().to_string()));
    if let Ok(value) = value {
        headers.insert(USER, value);
    }
}

/// Removes from an answer what does not pass.
pub(crate) fn prepare_response(headers: &mut HeaderMap, request_id: &HeaderValue) {
    strip_hop_by_hop(headers);
    headers.insert(REQUEST_ID, request_id.clone());
    // What a guest wrote into a file must never run as a page of the gateway's origin.
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("content-security-policy", HeaderValue::from_static("sandbox; default-src 'none'"));
}

/// Removes what is about the connection.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// The client's request ID, if it is fit for a log.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(REQUEST_ID)?;
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/=+".contains(byte);
    let bytes = value.as_bytes();
    (!bytes.is_empty() && bytes.len() <= REQUEST_ID_LEN && bytes.iter().all(is_fit)).then(|| value.clone())
}

/// Whether a browser sent this request on behalf of a page of another origin. Not every browser says so of every request:
/// some tell nothing but the origin, of WebSockets for instance.
pub(crate) fn is_cross_site<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let mut origins = headers.get_all(ORIGIN).iter();
    matches!(site, Some(b"cross-site" | b"same-site"))
        || origins.any(|origin| !is_own_origin(origin, request))
}

/// Whether a page of that origin came from the host that this request is for.
fn is_own_origin<B>(origin: &HeaderValue, request: &Request<B>) -> bool {
    let place = |uri: &Uri| {
        let authority = uri.authority()?;
        Some((authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(443)))
    };
    let asked = match request.uri().authority() {
        Some(_) => place(request.uri()),
        // HTTP/1.1 has it in a header.
        None => {
            let host = request.headers().get(HOST).and_then(|host| Uri::try_from(host.as_bytes()).ok());
            host.as_ref().and_then(place)
        }
    };
    let origin = Uri::try_from(origin.as_bytes()).ok().filter(|origin| origin.scheme_str() == Some("https"));
    asked.is_some() && origin.as_ref().and_then(place) == asked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const ID: HeaderValue = HeaderValue::from_static("r-1");

    #[test]
    fn credentials_and_claims_end_at_the_gateway() {
        let mut sent = headers(&[
            ("authorization", "Bearer secret"),
            ("cookie", "a=b"),
            ("x-remote-user", "root"),
            ("x-lodge-user", "root"),
            ("x-forwarded-for", "1.2.3.4"),
            ("impersonate-user", "root"),
            ("host", "gateway"),
            ("content-type", "application/json"),
            ("traceparent", "00-1-2-01"),
        ]);
        let trace = Trace::of(&sent, [1, 2, 3]);
        prepare_request(&mut sent, "jane", &ID, &trace);
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "traceparent", "x-lodge-user", "x-request-id"]);
        assert_eq!(sent["x-lodge-user"], "jane");
    }

    #[test]
    fn headers_about_the_connection_end_at_the_gateway() {
        let list = [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("etag", "e"),
        ];
        let mut sent = headers(&list);
        prepare_response(&mut sent, &ID);
        assert!(list[..6].iter().all(|(name, _)| !sent.contains_key(*name)), "{sent:?}");
        assert_eq!((&sent["etag"], &sent["x-request-id"]), (&HeaderValue::from_static("e"), &ID));
    }

    #[test]
    fn a_user_name_that_is_no_header_value_is_escaped() {
        let mut sent = HeaderMap::new();
        let trace = Trace::of(&sent, [1, 2, 3]);
        prepare_request(&mut sent, "a\r\nx-evil: 1", &ID, &trace);
        assert_eq!(sent["x-lodge-user"], "a\\r\\nx-evil: 1");
    }

    #[test]
    fn a_request_id_that_could_confuse_a_log_is_not_taken_over() {
        assert!(request_id(&headers(&[("x-request-id", "4bf92f35-77b3")])).is_some());
        for bad in ["", "a b", "a\"b", "{}"] {
            assert!(request_id(&headers(&[("x-request-id", bad)])).is_none(), "{bad:?}");
        }
    }

    fn asked(uri: &str, list: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::get(uri).body(()).unwrap();
        *request.headers_mut() = headers(list);
        request
    }

    #[test]
    fn the_length_of_a_body_that_may_not_pass_does_not_pass() {
        let mut sent = headers(&[("content-length", "50")]);
        let trace = Trace::of(&sent, [1, 2, 3]);
        prepare_request(&mut sent, "jane", &ID, &trace);
        assert!(!sent.contains_key("content-length"));
    }

    #[test]
    fn a_page_of_another_origin_is_told_by_its_origin_alone() {
        for (host, origin) in [
            ("lodge.example.com", "https://evil.example.com"),
            ("lodge.example.com", "https://lodge.example.com.evil.org"),
            ("lodge.example.com", "https://lodge.example.com:8443"),
            ("lodge.example.com", "http://lodge.example.com"),
            ("lodge.example.com", "null"),
            ("lodge.example.com", ""),
            ("not a host", "https://lodge.example.com"),
        ] {
            assert!(is_cross_site(&asked("/v1", &[("host", host), ("origin", origin)])), "{host} {origin}");
        }
        assert!(is_cross_site(&asked("/v1", &[("origin", "https://lodge.example.com")])));
        for (host, origin) in [
            ("lodge.example.com", "https://lodge.example.com"),
            ("Lodge.example.com:443", "https://lodge.example.com"),
            ("127.0.0.1:8443", "https://127.0.0.1:8443"),
            ("[::1]:8443", "https://[::1]:8443"),
        ] {
            assert!(!is_cross_site(&asked("/v1", &[("host", host), ("origin", origin)])), "{host} {origin}");
        }
        let (uri, origin) = ("https://lodge.example.com/v1", "https://lodge.example.com");
        assert!(!is_cross_site(&asked(uri, &[("origin", origin)])), "HTTP/2 has the host in the URI");
        assert!(
            !is_cross_site(&asked("/v1", &[("host", "lodge.example.com")])),
            "what is no browser says nothing"
        );
        assert!(!is_cross_site(&asked("/v1", &[("sec-fetch-site", "same-origin")])));
    }
}
