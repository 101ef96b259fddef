//! W3C trace context: every request is part of a trace, which is the client's, or begins here. The gateway is one span of
//! it: what the runner is told as the parent stands in the audit log.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use vm_api::header::TRACEPARENT;

/// Goes with `traceparent`; means nothing without it.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The length of version 00, which is all that may be relied on of later versions too.
const LEN: usize = 55;
/// Recorded: the audit log holds every span.
const SAMPLED: &[u8; 2] = b"01";

/// A request's place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// `00-{trace}-{span}-{flags}`.
    text: [u8; LEN],
}

impl Trace {
    /// Goes on with the client's trace, or begins one. `random` are 24 bytes that no other request has.
    pub(crate) fn of(headers: &HeaderMap, random: [u64; 3]) -> Self {
        let mut text = [b'-'; LEN];
        text[..2].copy_from_slice(b"00");
        match headers.get(TRACEPARENT).and_then(parent) {
            Some((trace, flags)) => {
                text[3..35].copy_from_slice(trace);
                text[53..].copy_from_slice(flags);
            }
            None => {
                text[3..19].copy_from_slice(&hex(random[0]));
                text[19..35].copy_from_slice(&hex(random[1] | 1));
                text[53..].copy_from_slice(SAMPLED);
            }
        }
        text[36..52].copy_from_slice(&hex(random[2] | 1));
        Self { text }
    }

    /// The trace's ID.
    pub(crate) fn id(&self) -> &str {
        std::str::from_utf8(&self.text[3..35]).unwrap_or_default()
    }

    /// Tells the next one.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if headers.get(TRACEPARENT).and_then(parent).is_none() {
            headers.remove(TRACESTATE);
        }
        if let Ok(value) = HeaderValue::from_bytes(&self.text) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

/// Trace and flags of a `traceparent`, if it is one.
fn parent(value: &HeaderValue) -> Option<(&[u8], &[u8])> {
    let text = value.as_bytes();
    let is_version_0 = text.starts_with(b"00");
    let is_whole = text.len() == LEN || (text.len() > LEN && text[LEN] == b'-' && !is_version_0);
    if !is_whole || text.starts_with(b"ff") {
        return None;
    }
    let (version, trace, span, flags) = (&text[..2], &text[3..35], &text[36..52], &text[53..LEN]);
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let is_cut = [2, 35, 52].into_iter().all(|at| text[at] == b'-');
    (is_cut && [version, trace, span, flags].into_iter().all(is_hex) && !is_zero(trace) && !is_zero(span))
        .then_some((trace, flags))
}

/// 16 hexadecimal digits.
pub(crate) fn hex(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|index| {
        let nibble = (number >> (60 - 4 * index)) & 0xf;
        DIGITS.get(usize::try_from(nibble).unwrap_or_default()).copied().unwrap_or(b'0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [u64; 3] = [0x0123_4567_89ab_cdef, 2, 0x10];

    fn headers(parent: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(parent));
        headers.insert(TRACESTATE, HeaderValue::from_static("a=1"));
        headers
    }

    fn told(mut headers: HeaderMap) -> (String, bool) {
        Trace::of(&headers, RANDOM).write(&mut headers);
        (headers[TRACEPARENT].to_str().unwrap().to_owned(), headers.contains_key(TRACESTATE))
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_ours() {
        let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let expected = "00-0af7651916cd43dd8448eb211c80319c-0000000000000011-00";
        assert_eq!(told(headers(sent)), (expected.to_owned(), true));
        assert_eq!(Trace::of(&headers(sent), RANDOM).id(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let sent = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
        assert!(told(headers(sent)).0.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    }

    #[test]
    fn a_trace_begins_here_where_there_is_none_that_can_be_read() {
        for sent in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more",
            "00-00000000000000000000000000000000-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-00",
        ] {
            let expected = "00-0123456789abcdef0000000000000003-0000000000000011-01";
            assert_eq!(told(headers(sent)), (expected.to_owned(), false), "{sent}");
        }
    }
}
