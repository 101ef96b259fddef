//! Standard input of a command: sent in pieces, each acknowledged before the next, so that none is sent twice.

use bytes::{Bytes, BytesMut};
use vm_api::ProblemCode;

use crate::error::Error;
use crate::gateway::Ask;
use crate::remote::Remote;
use crate::terminal::Input;

/// Most bytes of one piece.
const PIECE_BYTES: usize = 256 << 10;

/// What was read of the input before the command was begun.
pub(crate) struct Begun {
    pub(crate) bytes: BytesMut,
    /// Whether that is all of it.
    pub(crate) is_all: bool,
}

impl Begun {
    /// Reads what comes within `patience`, at most about `most` bytes.
    pub(crate) async fn read(
        input: &mut Input,
        patience: std::time::Duration,
        most: usize,
    ) -> Result<Self, Error> {
        let mut begun = Self { bytes: BytesMut::new(), is_all: false };
        let deadline = tokio::time::Instant::now() + patience;
        while begun.bytes.len() <= most {
            match tokio::time::timeout_at(deadline, input.next()).await {
                Ok(chunk) => match chunk? {
                    Some(chunk) => begun.bytes.extend_from_slice(&chunk),
                    None => {
                        begun.is_all = true;
                        break;
                    }
                },
                Err(_) => break,
            }
        }
        Ok(begun)
    }
}

/// Sends everything, then the end.
pub(crate) async fn feed(remote: &Remote, pid: i32, begun: Begun, mut input: Input) -> Result<(), Error> {
    let Begun { bytes, is_all } = begun;
    let mut rest = bytes.freeze();
    while !rest.is_empty() {
        if !send(remote, pid, rest.split_to(rest.len().min(PIECE_BYTES))).await? {
            return Ok(());
        }
    }
    while let Some(first) = if is_all { None } else { input.next().await? } {
        let mut piece = BytesMut::from(first);
        while piece.len() < PIECE_BYTES {
            let Some(more) = input.try_next()? else { break };
            piece.extend_from_slice(&more);
        }
        if !send(remote, pid, piece.freeze()).await? {
            return Ok(());
        }
    }
    let path = format!("{}?close", remote.route.process(pid, "stdin"));
    post(remote, path, Bytes::new()).await.map(drop)
}

/// Sends a piece. Tells whether the command takes more.
async fn send(remote: &Remote, pid: i32, piece: Bytes) -> Result<bool, Error> {
    post(remote, remote.route.process(pid, "stdin"), piece).await
}

async fn post(remote: &Remote, path: String, piece: Bytes) -> Result<bool, Error> {
    match remote.ask_quietly(Ask::post(path).bytes(piece)).await {
        Ok(reply) => reply.bytes().await.map(|_| true),
        // Nobody reads it any more: that is the command's affair.
        Err(error)
            if [ProblemCode::StdinClosed, ProblemCode::ProcessEnded, ProblemCode::ProcessNotFound]
                .iter()
                .any(|code| error.is(*code)) =>
        {
            Ok(false)
        }
        Err(Error::Unreachable { why, .. }) => Err(Error::InputLost(why)),
        Err(error) => Err(error),
    }
}
