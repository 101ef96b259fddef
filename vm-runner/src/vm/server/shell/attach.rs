//! `GET shells/{id}/attach`: a client at a shell's terminal, over a WebSocket.
//!
//! Two loops side by side: one shows, one listens. Whichever ends first ends the attachment; the shell runs on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use vm_api::{Problem, ProblemCode, ShellControl, ShellMessage};
use vm_kernel::WindowSize;

use super::question::Scanner;
use super::started::{Attachment, Shell};
use super::{parse_window, socket};
use crate::http::{Request, Response};
use crate::vm::boot::Vm;
use crate::vm::server::event::stream;
use crate::vm::server::process::log::{LogReader, Piece, Refusal};
use crate::vm::server::query::Query;

/// Largest message of a client.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// How long a connection may take to become a WebSocket.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a client is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long a client may give none.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(65);
/// How long a client may take for one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How far into a replay that is not from the start its first whole line is looked for.
const MAX_LINE_BYTES: usize = 4096;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How an attachment ends.
enum End {
    /// The client is told.
    Close(CloseCode, &'static str),
    /// There is nobody to tell.
    Gone,
}

/// Answers one request; goes on in a task of the shells' table.
pub(crate) fn attach(vm: &Vm, shell: &Arc<Shell>, request: &mut Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["after"])?;
    let after = stream::after(&query, request.headers())?;
    let response = socket::accept(request.headers())?;
    let Some(upgrade) = request.take_upgrade() else {
        return Err(Problem::new(ProblemCode::UpgradeRequired, "this connection cannot become a WebSocket"));
    };
    let kept = shell.log().state();
    let from = after.unwrap_or(kept.first);
    let reader = shell.log().read_after(from).map_err(|refusal| match refusal {
        Refusal::Beyond(last) => {
            let detail = format!("after={from}: the shell has shown {last} bytes");
            Problem::new(ProblemCode::InvalidQuery, detail).with_field("after")
        }
        Refusal::TooManyReaders(most) => stream::too_many_readers("a shell", most),
    })?;
    // Where the beginning is gone, a replay begins with a whole line.
    let is_cut = after.is_none() && kept.first > 0;
    vm.shells().serve(run(upgrade, shell.attach(), reader, is_cut));
    Ok(response)
}

async fn run(upgrade: OnUpgrade, attachment: Attachment, mut reader: LogReader, is_cut: bool) {
    let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE_TIMEOUT, upgrade).await else { return };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (mut sink, mut source) = socket.split();
    let shell = &attachment.shell;
    let (refusals, refused) = mpsc::channel(1);
    let mut window = shell.watch_window();
    let size = *window.borrow_and_update();
    let first = begin(&mut reader, is_cut, size);
    let replay = Some(Replay { end: shell.log().state().end, scanner: Scanner::default() });
    let mut screen = Screen { sink: &mut sink, reader, window, refused, replay };
    let end = tokio::select! {
        end = screen.show(first) => end,
        end = listen(&mut source, &attachment, &refusals) => end,
    };
    if let End::Close(code, reason) = end {
        let frame = CloseFrame { code, reason: reason.into() };
        let close = async {
            // The client may be gone by now.
            let _ = sink.send(Message::Close(Some(frame))).await;
            while let Some(Ok(_)) = source.next().await {}
        };
        let _ = tokio::time::timeout(WRITE_TIMEOUT, close).await;
    }
}

/// Goes to where the replay begins, and says so.
fn begin(reader: &mut LogReader, is_cut: bool, window: WindowSize) -> ShellMessage {
    let mut lost = 0;
    if let Some(Piece::Lost(bytes)) = reader.peek() {
        lost = bytes;
        reader.advance(bytes);
    }
    if (is_cut || lost > 0)
        && let Some(Piece::Bytes(_, bytes)) = reader.peek()
        && let Some(end) = bytes.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n')
    {
        let skipped = end as u64 + 1;
        reader.advance(skipped);
        lost += if is_cut { 0 } else { skipped };
    }
    ShellMessage::Attached { seq: reader.position(), lost, cols: window.columns, rows: window.rows }
}

/// The loop that shows.
struct Screen<'a> {
    sink: &'a mut SplitSink<Socket, Message>,
    reader: LogReader,
    window: watch::Receiver<WindowSize>,
    refused: mpsc::Receiver<Problem>,
    /// Until everything was shown that there was before.
    replay: Option<Replay>,
}

/// What was shown to others before is shown again, but what it asks is not asked again.
struct Replay {
    end: u64,
    scanner: Scanner,
}

impl Screen<'_> {
    async fn show(&mut self, first: ShellMessage) -> End {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.reset();
        let mut next = text(&first);
        loop {
            match tokio::time::timeout(WRITE_TIMEOUT, self.sink.send(next)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return End::Gone,
            }
            next = loop {
                if let Some(message) = self.replay() {
                    break message;
                }
                match self.reader.peek() {
                    Some(Piece::Bytes(_, bytes)) => {
                        self.reader.advance(bytes.len() as u64);
                        break Message::Binary(bytes.into());
                    }
                    Some(Piece::Lost(lost)) => return self.let_go(lost).await,
                    Some(Piece::Exited(exit)) => {
                        let _ = self.tell(&ShellMessage::Exited(exit)).await;
                        return End::Close(CloseCode::Normal, "the shell has ended");
                    }
                    None if self.reader.is_at_end() => {
                        return End::Close(CloseCode::Normal, "the shell has ended");
                    }
                    None => {}
                }
                tokio::select! {
                    () = self.reader.grown() => {}
                    _ = ping.tick() => break Message::Ping(Bytes::new()),
                    Ok(()) = self.window.changed() => {
                        let WindowSize { columns: cols, rows } = *self.window.borrow_and_update();
                        break text(&ShellMessage::Resized { cols, rows });
                    }
                    Some(Problem { code, detail, .. }) = self.refused.recv() => {
                        break text(&ShellMessage::Refused { code, detail });
                    }
                }
            };
        }
    }

    /// The next message of the replay; `None` once it is over.
    fn replay(&mut self) -> Option<Message> {
        let replay = self.replay.as_mut()?;
        loop {
            let left =
                usize::try_from(replay.end.saturating_sub(self.reader.position())).unwrap_or(usize::MAX);
            let shown = match self.reader.peek() {
                Some(Piece::Bytes(_, mut bytes)) if left > 0 => {
                    bytes.truncate(left);
                    self.reader.advance(bytes.len() as u64);
                    replay.scanner.scan(&bytes, |_| {})
                }
                Some(Piece::Lost(_)) => return None,
                _ => {
                    let rest = replay.scanner.finish();
                    if rest.is_empty() {
                        self.replay = None;
                        return Some(text(&ShellMessage::Replayed { seq: self.reader.position() }));
                    }
                    rest
                }
            };
            if !shown.is_empty() {
                return Some(Message::Binary(shown.into()));
            }
        }
    }

    /// A client that reads too slowly to be waited for.
    async fn let_go(&mut self, lost: u64) -> End {
        let seq = self.reader.position() + lost;
        let _ = self.tell(&ShellMessage::Lagged { seq, lost }).await;
        End::Close(CloseCode::Again, "too slow")
    }

    async fn tell(&mut self, message: &ShellMessage) -> Result<(), ()> {
        let sent = tokio::time::timeout(WRITE_TIMEOUT, self.sink.send(text(message))).await;
        sent.map_err(drop)?.map_err(drop)
    }
}

fn text(message: &ShellMessage) -> Message {
    // Strings and numbers only: cannot fail.
    Message::text(serde_json::to_string(message).unwrap_or_default())
}

/// The loop that listens.
async fn listen(
    source: &mut SplitStream<Socket>,
    attachment: &Attachment,
    refusals: &mpsc::Sender<Problem>,
) -> End {
    let shell = &*attachment.shell;
    loop {
        let Ok(message) = tokio::time::timeout(SILENCE_TIMEOUT, source.next()).await else {
            return End::Gone;
        };
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                if attachment.note_typed(&bytes)
                    && let Some(terminal) = shell.terminal()
                {
                    // Waits while the terminal is full; a shell that ends meanwhile ends this, too.
                    let _ = terminal.write(&bytes).await;
                }
            }
            Some(Ok(Message::Text(text))) => {
                if let Err(problem) = control(shell, &text)
                    && refusals.send(problem).await.is_err()
                {
                    return End::Gone;
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(Error::Capacity(_))) => {
                return End::Close(CloseCode::Size, "a message has 1 MiB at most");
            }
            Some(Err(Error::Protocol(_) | Error::Utf8(_))) => {
                return End::Close(CloseCode::Protocol, "this is no WebSocket");
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
        }
    }
}

fn control(shell: &Shell, text: &str) -> Result<(), Problem> {
    match crate::http::parse_json(text.as_bytes())? {
        ShellControl::Resize { cols, rows } => {
            let window = parse_window(Some(cols), Some(rows))?;
            // A shell that has ended has no size.
            shell.resize(window);
            Ok(())
        }
    }
}
