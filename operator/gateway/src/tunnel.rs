//! Connections that have left HTTP: what a client and a runner say to each other is passed on byte by byte, both ways,
//! until one of them hangs up or the lease is over.
//!
//! Must never look at what passes, other than for where a frame ends: a goodbye of the gateway's own may stand only there.

use std::io;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};

use crate::answer::Ending;
use crate::lease::{Parting, Running};
use crate::websocket::{Frames, close_frame};

/// Bytes in flight, each way.
const BUFFER_BYTES: usize = 16 * 1024;
/// The client has hung up: the runner has so long to notice. And a lease is over: the current frame has so long to end.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a close frame says (RFC 6455, section 7.4.1, and IANA's registry).
const SERVICE_RESTART: u16 = 1012;
const POLICY_VIOLATION: u16 = 1008;

/// Passes everything on until the end, which it tells.
pub(crate) async fn pass(client: OnUpgrade, runner: OnUpgrade, lease: Running) -> Ending {
    match tokio::try_join!(client, runner) {
        Ok((client, runner)) => converse(TokioIo::new(client), TokioIo::new(runner), lease).await,
        Err(error) => {
            tracing::debug!(%error, "a tunnel was not opened");
            Ending::default()
        }
    }
}

async fn converse(client: TokioIo<Upgraded>, runner: TokioIo<Upgraded>, lease: Running) -> Ending {
    let (client_reader, client_writer) = split(client);
    let (runner_reader, runner_writer) = split(runner);
    join(client_reader, client_writer, runner_reader, runner_writer, lease).await
}

/// Ends when the runner has hung up, or soon after the client has.
async fn join(
    client_reader: impl AsyncRead + Unpin,
    client_writer: impl AsyncWrite + Unpin,
    runner_reader: impl AsyncRead + Unpin,
    runner_writer: impl AsyncWrite + Unpin,
    lease: Running,
) -> Ending {
    let mut ending = Ending::default();
    let mut outward = Outward { reader: runner_reader, writer: client_writer, frames: Frames::default() };
    let inward = async {
        if let Err(error) = carry(client_reader, runner_writer).await {
            tracing::debug!(%error, "a client's half of a tunnel ended early");
        }
        tokio::time::sleep(GOODBYE_TIMEOUT).await;
    };
    tokio::select! {
        carried = outward.carry(lease, &mut ending) => match carried {
            Ok(()) => ending.is_complete = ending.parting.is_none(),
            Err(error) => tracing::debug!(%error, "a runner's half of a tunnel ended early"),
        },
        () = inward => {}
    }
    ending
}

/// What a runner says to its client.
struct Outward<R, W> {
    reader: R,
    writer: W,
    frames: Frames,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Outward<R, W> {
    async fn carry(&mut self, mut lease: Running, ending: &mut Ending) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            // Only reading can be given up without losing anything.
            let count = tokio::select! {
                count = self.reader.read(&mut buffer) => count?,
                parting = lease.as_mut() => {
                    ending.parting = Some(parting);
                    return self.say_goodbye(parting, &mut buffer).await;
                }
            };
            if count == 0 {
                return self.writer.shutdown().await;
            }
            self.pass(buffer.get(..count).unwrap_or_default()).await?;
            ending.bytes += count as u64;
        }
    }

    async fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frames.pass(bytes);
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }

    async fn say_goodbye(&mut self, parting: Parting, buffer: &mut [u8]) -> io::Result<()> {
        let rest = async {
            while !self.frames.is_between() {
                match self.reader.read(buffer).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => self.pass(buffer.get(..count).unwrap_or_default()).await?,
                }
            }
            Ok::<_, io::Error>(())
        };
        if tokio::time::timeout(GOODBYE_TIMEOUT, rest).await.is_ok_and(|rest| rest.is_ok()) {
            let frame = match parting {
                Parting::Stopping => close_frame(SERVICE_RESTART, "the gateway stops: connect again"),
                Parting::Withdrawn => {
                    close_frame(POLICY_VIOLATION, "the token or the permission does not count any longer")
                }
            };
            self.writer.write_all(&frame).await?;
        }
        self.writer.shutdown().await
    }
}

/// Passes on until the end, and tells the other side that it is there.
async fn carry(mut reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return writer.shutdown().await;
        }
        writer.write_all(buffer.get(..count).unwrap_or_default()).await?;
        writer.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// A tunnel, the client's end and the runner's end.
    fn tunnel(lease: Running) -> (impl Future<Output = Ending>, DuplexStream, DuplexStream) {
        let (client, clients_end) = duplex(1 << 20);
        let (runner, runners_end) = duplex(1 << 20);
        let ((client_reader, client_writer), (runner_reader, runner_writer)) = (split(client), split(runner));
        (join(client_reader, client_writer, runner_reader, runner_writer, lease), clients_end, runners_end)
    }

    fn for_ever() -> Running {
        Box::pin(std::future::pending())
    }

    #[tokio::test(start_paused = true)]
    async fn everything_passes_both_ways_and_the_end_does_too() {
        let (tunnel, mut client, mut runner) = tunnel(for_ever());
        let talk = async {
            client.write_all(b"question").await.unwrap();
            let mut question = [0; 8];
            runner.read_exact(&mut question).await.unwrap();
            runner.write_all(b"\x82\x06answer").await.unwrap();
            drop(runner);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!((&question, &answer[..]), (b"question", &b"\x82\x06answer"[..]));
        };
        let (ending, ()) = tokio::join!(tunnel, talk);
        assert_eq!(ending, Ending { bytes: 8, is_complete: true, parting: None });
    }

    #[tokio::test(start_paused = true)]
    async fn a_goodbye_comes_after_the_frame_that_is_being_said() {
        let lease = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Parting::Stopping
        };
        let (tunnel, mut client, mut runner) = tunnel(Box::pin(lease));
        let talk = async {
            runner.write_all(b"\x82\x06ans").await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            runner.write_all(b"wer").await.unwrap();
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let (ending, heard) = tokio::join!(tunnel, talk);
        assert_eq!(&heard[..8], b"\x82\x06answer");
        assert_eq!(&heard[8..12], [0x88, u8::try_from(heard.len() - 10).unwrap(), 0x03, 0xf4]);
        assert_eq!(ending.parting, Some(Parting::Stopping));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_whose_client_has_left_does_not_stay() {
        let (tunnel, client, mut runner) = tunnel(for_ever());
        drop(client);
        let notice = async {
            let mut said = Vec::new();
            runner.read_to_end(&mut said).await.unwrap();
            assert!(said.is_empty());
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ending = tunnel => assert!(!ending.is_complete),
            () = notice => {}
        }
    }
}
