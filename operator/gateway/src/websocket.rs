//! As much of WebSockets (RFC 6455, RFC 8441) as a gateway needs: how they begin over HTTP/1.1 and HTTP/2, where one frame
//! ends and the next begins, and what says goodbye. What is in a frame is nobody's business here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{Method, Request};
use hyper::ext::Protocol;

const WEBSOCKET: &str = "websocket";
/// The longest reason that fits into a frame that says goodbye.
const MAX_REASON_BYTES: usize = 123;

/// How a client asks for a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// HTTP/1.1: `Upgrade`, answered with 101.
    Upgrade,
    /// HTTP/2: an extended CONNECT, answered with 200.
    Connect,
}

impl Opening {
    /// Whether and how a request asks for a WebSocket.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        if *request.method() == Method::CONNECT {
            let protocol = request.extensions().get::<Protocol>()?;
            return (protocol.as_ref() == WEBSOCKET.as_bytes()).then_some(Self::Connect);
        }
        let asks = has_token(request.headers(), &CONNECTION, "upgrade")
            && has_token(request.headers(), &UPGRADE, WEBSOCKET);
        (asks && *request.method() == Method::GET).then_some(Self::Upgrade)
    }

    /// Makes headers that were stripped of what is about the connection those of an upgrade. `random` are 16 bytes that
    /// no other request has.
    pub(crate) fn ask(self, headers: &mut HeaderMap, random: [u64; 2]) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
        if self == Self::Connect {
            // HTTP/2 has other means against what the key protects from; the runner wants one.
            let key = STANDARD.encode([random[0].to_be_bytes(), random[1].to_be_bytes()].concat());
            if let Ok(key) = HeaderValue::try_from(key) {
                headers.insert(SEC_WEBSOCKET_KEY, key);
            }
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
    }

    /// Makes the headers of a runner's 101 those that the client expects.
    pub(crate) fn agree(self, headers: &mut HeaderMap) {
        match self {
            Self::Upgrade => {
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
            }
            Self::Connect => drop(headers.remove(SEC_WEBSOCKET_ACCEPT)),
        }
    }
}

fn has_token(headers: &HeaderMap, name: &http::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// A frame that says goodbye, from a server.
pub(crate) fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let reason = reason.as_bytes().get(..MAX_REASON_BYTES).unwrap_or(reason.as_bytes());
    let mut frame = vec![0x88, u8::try_from(2 + reason.len()).unwrap_or(2)];
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(reason);
    frame
}

/// Where in a stream of frames one is.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Of a header that has not come in full.
    header: Vec<u8>,
    /// Bytes of the current frame that are still to come.
    left: u64,
}

impl Frames {
    /// Takes note of what passes.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= taken as u64;
                bytes = &bytes[taken..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some(payload) = payload_len(&self.header) {
                self.left = payload;
                self.header.clear();
            }
        }
    }

    /// Whether a frame may begin here.
    pub(crate) fn is_between(&self) -> bool {
        self.header.is_empty() && self.left == 0
    }
}

/// What follows a header, if it is there in full.
fn payload_len(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (extra, len) = match second & 0x7f {
        126 => (2, number(header.get(2..4)?)),
        127 => (8, number(header.get(2..10)?)),
        len => (0, u64::from(len)),
    };
    (header.len() >= 2 + extra + mask).then_some(len)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of all kinds of lengths, and where they end.
    fn frames() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for (len, is_masked) in
            [(0, false), (5, true), (125, false), (126, false), (70_000, true), (1, false)]
        {
            bytes.push(0x82);
            let mask = if is_masked { 0x80 } else { 0 };
            match len {
                0..126 => bytes.push(mask | u8::try_from(len).unwrap()),
                126..65_536 => {
                    bytes.push(mask | 126);
                    bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
                }
                _ => {
                    bytes.push(mask | 127);
                    bytes.extend((len as u64).to_be_bytes());
                }
            }
            bytes.extend(vec![0x82; len + if is_masked { 4 } else { 0 }]);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn the_end_of_a_frame_is_known_however_its_bytes_come() {
        let (bytes, ends) = frames();
        for size in [1, 2, 3, 7, 1000, 100_000] {
            let (mut frames, mut at) = (Frames::default(), 0);
            assert!(frames.is_between());
            for chunk in bytes.chunks(size) {
                frames.pass(chunk);
                at += chunk.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "{at} in chunks of {size}");
            }
        }
    }

    #[test]
    fn a_goodbye_is_one_frame_however_long_its_reason() {
        assert_eq!(close_frame(1012, "bye"), [0x88, 5, 0x03, 0xf4, b'b', b'y', b'e']);
        let mut frames = Frames::default();
        frames.pass(&close_frame(1008, &"x".repeat(500)));
        assert!(frames.is_between());
    }

    #[test]
    fn only_a_request_for_a_websocket_is_one() {
        let request = |pairs: &[(&str, &str)]| {
            let mut builder = Request::get("/");
            for (name, value) in pairs {
                builder = builder.header(*name, *value);
            }
            builder.body(()).unwrap()
        };
        let upgrade = request(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]);
        assert_eq!(Opening::of(&upgrade), Some(Opening::Upgrade));
        assert_eq!(Opening::of(&request(&[("connection", "upgrade"), ("upgrade", "h2c")])), None);
        assert_eq!(Opening::of(&request(&[("upgrade", "websocket")])), None);
        let mut connect = request(&[]);
        *connect.method_mut() = Method::CONNECT;
        assert_eq!(Opening::of(&connect), None);
        connect.extensions_mut().insert(Protocol::from_static("websocket"));
        assert_eq!(Opening::of(&connect), Some(Opening::Connect));
    }
}
