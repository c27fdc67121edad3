//! One WebSocket between a peer and an arbiter, as messages. Nothing else in either program names
//! tungstenite.
//!
//! The two directions are independent: a writer task empties a queue into the socket while
//! [`Link::receive`] reads from it. If one task did both in turn, two sides that send large
//! messages at the same moment would wait for each other for ever.

use crate::clock;
use crate::refusal;
use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use async_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use async_tungstenite::tungstenite::http::header::{DATE, HeaderMap};
use async_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use async_tungstenite::tungstenite::{Error as WsError, Message as WsMessage};
use async_tungstenite::{WebSocketReceiver, WebSocketSender, WebSocketStream};
use canister_protocol::codec::{self, Message, Payload};
use canister_protocol::message::{FLOOR_HEADER, RECORD_HEADER, cut};
use canister_protocol::{Database, Floor, database, limits};
use smol::Timer;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;
use smol::io::{AsyncRead, AsyncWrite};
use smol::stream::StreamExt as _;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The peer's side sends a ping this often: both hear something then, and routers on the way remember the
/// connection. It is most of what an idle agent does.
const PING_EVERY: Duration = Duration::from_secs(60);
/// A side that hears nothing for this long takes the other for gone.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// A handshake (TCP, TLS, WebSocket) that takes longer has failed.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(15);
/// How long a closing side waits until its last words are written.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Most of an arbiter's refusal that is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 512;
/// The status code with which an arbiter ends the session of a peer whose certificate was revoked
/// (RFC 6455 §7.4.2: 4000 and up are a protocol's own).
pub const REVOKED: u16 = 4003;
/// The header in which it says where it sees the peer. (HTTP's names are in lower case here.)
const ADDRESS_HEADER: &str = "canister-address";
/// The path of the WebSocket at an arbiter.
pub const PATH: &str = "/connect";

/// One end of a session's WebSocket.
#[derive(Debug)]
pub struct Link<S> {
    receiver: WebSocketReceiver<S>,
    outbox: Outbox,
    heard: Instant,
    received_bytes: usize,
    writer: smol::Task<()>,
    told: Told,
}

/// What an arbiter says when it takes a peer, before any message; nothing at the arbiter's end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Its clock, in seconds since 1970.
    pub clock: Option<u64>,
    /// Where the peer may write its rows itself, in the role that is called as it.
    pub database: Option<Database>,
    /// Why the peer gets less than it offers, if it does.
    pub record: Option<String>,
    /// Where it sees the peer.
    pub address: Option<IpAddr>,
    /// The oldest version of agents that it grants leases, and from when on.
    pub floor: Option<Floor>,
}

/// The queue of what is to be sent; clones send over the same link.
#[derive(Debug, Clone)]
pub struct Outbox(Sender<WsMessage>);

/// Why an arbiter has no session with who has a certificate of its authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSession {
    /// The certificate has no name that a peer can have.
    Nameless,
    /// It, or one that it is a renewal of, was revoked.
    Revoked,
}

impl NoSession {
    const fn status(self) -> StatusCode {
        match self {
            Self::Nameless => StatusCode::FORBIDDEN,
            Self::Revoked => StatusCode::GONE,
        }
    }
}

impl fmt::Display for NoSession {
    /// As the peer is told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nameless => "its certificate has no common name that a peer can have",
            Self::Revoked => refusal::REVOKED,
        })
    }
}

/// Why a link ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkError {
    /// The other side closed it.
    Closed {
        /// RFC 6455 §7.4 status code; 1005 if none was given, 1006 without a close frame.
        code: u16,
        /// Its reason; often empty.
        reason: String,
    },
    /// The other side sent what it may not.
    Protocol(canister_protocol::Error),
    /// The arbiter has no sessions any more with whose certificate is ours.
    Revoked,
    /// Nothing was heard from the other side for too long.
    Silent,
    /// The connection or the WebSocket layer failed.
    Transport(String),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, reason } if reason.is_empty() => {
                write!(f, "closed by the other side (code {code})")
            }
            Self::Closed { code, reason } => {
                write!(f, "closed by the other side (code {code}): {reason}")
            }
            Self::Protocol(cause) => write!(f, "{cause}"),
            Self::Revoked => f.write_str(refusal::REVOKED),
            Self::Silent => {
                write!(f, "nothing heard from the other side for {} s", SILENCE_MAX.as_secs())
            }
            Self::Transport(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<canister_protocol::Error> for LinkError {
    fn from(cause: canister_protocol::Error) -> Self {
        Self::Protocol(cause)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Link<S> {
    /// Opens the client's end over a stream that is connected and encrypted. `address` is the
    /// arbiter's `wss://host[:port]/connect`.
    ///
    /// # Errors
    /// [`LinkError::Transport`]: the other side is no arbiter, or the stream ended.
    pub async fn open(
        executor: &smol::LocalExecutor<'_>,
        address: &str,
        stream: S,
    ) -> Result<Self, LinkError> {
        let request = address.into_client_request().map_err(transport)?;
        let (socket, response) =
            async_tungstenite::client_async_with_config(request, stream, Some(settings()))
                .await
                .map_err(transport)?;
        let mut link = Self::over(executor, socket, Some(PING_EVERY));
        link.told = Told::read(response.headers()).map_err(LinkError::Transport)?;
        Ok(link)
    }

    /// Opens the server's end; only [`PATH`] is served, everything else is 404. With a `refusal`
    /// there is no session: it is told to the other side. Else the peer is `told` of
    /// the database, of its record and of the address that it comes from; the clock is this machine's.
    ///
    /// # Errors
    /// [`LinkError::Transport`]: the other side is no peer, was refused, or the stream ended.
    pub async fn accept(
        executor: &smol::LocalExecutor<'_>,
        stream: S,
        refusal: Option<NoSession>,
        told: &Told,
    ) -> Result<Self, LinkError> {
        #[expect(clippy::result_large_err, reason = "tungstenite's callback is typed so")]
        let judge = |request: &Request, mut response: Response| {
            let (status, why) = match refusal {
                _ if request.uri().path() != PATH => {
                    (StatusCode::NOT_FOUND, format!("only {PATH} is served here\n"))
                }
                Some(why) => (why.status(), format!("{why}\n")),
                None => {
                    let now = refusal::date(clock::wall_millis() / 1000);
                    if let Ok(now) = now.parse() {
                        response.headers_mut().insert(DATE, now);
                    }
                    let database = told.database.as_ref().map(ToString::to_string);
                    let address = told.address.map(|it| it.to_canonical().to_string());
                    let floor = told.floor.as_ref().map(ToString::to_string);
                    for (name, value) in [
                        (database::HEADER, database),
                        (FLOOR_HEADER, floor),
                        (RECORD_HEADER, told.record.clone()),
                        (ADDRESS_HEADER, address),
                    ] {
                        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                            response.headers_mut().insert(name, value);
                        }
                    }
                    return Ok(response);
                }
            };
            let mut refused = ErrorResponse::new(Some(why));
            *refused.status_mut() = status;
            Err(refused)
        };
        let socket =
            async_tungstenite::accept_hdr_async_with_config(stream, judge, Some(settings()))
                .await
                .map_err(transport)?;
        Ok(Self::over(executor, socket, None))
    }

    fn over(
        executor: &smol::LocalExecutor<'_>,
        socket: WebSocketStream<S>,
        pings: Option<Duration>,
    ) -> Self {
        let (sender, receiver) = socket.split();
        // Unbounded here, bounded by what the protocol lets be under way: a peer has at most two
        // writes and one question a lease unanswered, an arbiter works on nothing new for a peer
        // that doesn't read.
        let (outbox, queue) = smol::channel::unbounded();
        let writer = executor.spawn(write(sender, queue, pings));
        Self {
            receiver,
            outbox: Outbox(outbox),
            heard: clock::now(),
            received_bytes: 0,
            writer,
            told: Told::default(),
        }
    }

    /// The next message. Cancelling the future loses nothing.
    ///
    /// # Errors
    /// [`LinkError`]; the link is of no more use, but [`close`](Self::close) can still say why.
    pub async fn receive<M: Message>(&mut self) -> Result<M, LinkError> {
        loop {
            let deadline = self.heard + SILENCE_MAX;
            let receiver = &mut self.receiver;
            let frame = async { Some(receiver.next().await) }
                .or(async {
                    Timer::at(deadline).await;
                    None
                })
                .await
                .ok_or(LinkError::Silent)?;
            self.heard = clock::now();
            match frame {
                None => {
                    return Err(LinkError::Closed { code: 1006, reason: String::new() });
                }
                Some(Err(cause)) => return Err(transport(cause)),
                Some(Ok(WsMessage::Text(text))) => {
                    self.received_bytes = text.len();
                    return Ok(codec::decode(text.as_bytes())?);
                }
                Some(Ok(WsMessage::Binary(bytes))) => {
                    self.received_bytes = bytes.len();
                    return Ok(codec::decode_binary(&bytes)?);
                }
                Some(Ok(WsMessage::Close(frame))) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.as_str().to_owned())
                    });
                    return Err(match code {
                        REVOKED => LinkError::Revoked,
                        _ => LinkError::Closed { code, reason },
                    });
                }
                // tungstenite answers pings itself.
                Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_))) => {}
            }
        }
    }

    /// How many bytes the last message had that was received.
    pub const fn received_bytes(&self) -> usize {
        self.received_bytes
    }

    /// Queues a message.
    pub fn send(&self, message: &impl Message) {
        self.outbox.send(message);
    }

    /// What the arbiter said when it took us.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The queue of this link.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Waits, for a bounded time, until all that was queued is written, then tells the other side
    /// that the session ends, and why.
    pub async fn close(self, code: u16, reason: &str) {
        self.outbox.close(code, reason);
        let Self { outbox, writer, .. } = self;
        drop(outbox);
        // The writer ends by itself after the close frame.
        writer
            .or(async {
                Timer::after(CLOSE_MAX).await;
            })
            .await;
    }
}

impl Told {
    /// Reads an arbiter's answer. A clock that can't be read is nothing that a session needs; a
    /// database that can't be read is an arbiter's fault, as a field of a message would be.
    fn read(headers: &HeaderMap) -> Result<Self, String> {
        let date = headers.get(DATE).and_then(|it| it.to_str().ok());
        let clock = date
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .and_then(|date| date.duration_since(UNIX_EPOCH).ok())
            .map(|since| since.as_secs());
        let named = headers.get(database::HEADER).map(|named| {
            String::from_utf8_lossy(named.as_bytes())
                .parse::<Database>()
                .map_err(|why| format!("the arbiter's header {}: {why}", database::HEADER))
        });
        let record = headers.get(RECORD_HEADER).and_then(|it| it.to_str().ok());
        let record = record.map(|it| cut(it, limits::TEXT_BYTES_MAX).to_owned());
        let address = headers.get(ADDRESS_HEADER).and_then(|it| it.to_str().ok()?.parse().ok());
        let floor = headers.get(FLOOR_HEADER).and_then(|it| it.to_str().ok()?.parse().ok());
        Ok(Self { clock, database: named.transpose()?, record, address, floor })
    }
}

impl Outbox {
    /// A queue that leads nowhere.
    pub fn unconnected() -> Self {
        Self(smol::channel::unbounded().0)
    }

    /// Queues a message. If the link is gone nothing happens: its reader will say so.
    pub fn send(&self, message: &impl Message) {
        let _ = self.0.try_send(match codec::payload(message) {
            Payload::Text(text) => WsMessage::text(text),
            Payload::Binary(bytes) => WsMessage::binary(bytes),
        });
    }

    /// The same of one that is bytes already.
    pub fn send_binary(&self, bytes: Vec<u8>) {
        let _ = self.0.try_send(WsMessage::binary(bytes));
    }

    /// Queues a close frame; nothing is sent after it.
    pub fn close(&self, code: u16, reason: &str) {
        let reason = cut(reason, limits::CLOSE_REASON_BYTES_MAX).to_owned();
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let _ = self.0.try_send(WsMessage::Close(Some(frame)));
    }

    /// How many messages wait to be written.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl LinkError {
    /// The status code with which to close a link that ended so (RFC 6455 §7.4.1).
    pub fn close_code(&self) -> u16 {
        match self {
            Self::Closed { .. } | Self::Revoked => 1000,
            Self::Protocol(canister_protocol::Error::NotJson { .. }) => 1007,
            Self::Protocol(canister_protocol::Error::TooLong { .. }) => 1009,
            Self::Protocol(canister_protocol::Error::Field { .. }) => 1008,
            Self::Protocol(_) => 1002,
            Self::Silent => 1001,
            Self::Transport(_) => 1002,
        }
    }
}

/// Empties the queue into the socket; sends a ping each time that `pings` is over.
/// Ends when the queue's senders are gone, after a close frame, or when the socket fails.
async fn write<S>(
    mut sender: WebSocketSender<S>,
    queue: Receiver<WsMessage>,
    pings: Option<Duration>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let next_ping = || pings.map(|every| clock::now() + every);
    let mut ping_at = next_ping();
    loop {
        let next = async { queue.recv().await.ok() }
            .or(async {
                match ping_at {
                    Some(at) => Timer::at(at).await,
                    None => smol::future::pending().await,
                };
                Some(WsMessage::Ping(Vec::new().into()))
            })
            .await;
        let Some(message) = next else { return };
        if message.is_ping() {
            ping_at = next_ping();
        }
        let is_last = message.is_close();
        // Where sending fails, the reader sees the same failure and tells it.
        if sender.send(message).await.is_err() || is_last {
            return;
        }
    }
}

fn settings() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(limits::MESSAGE_BYTES_MAX))
        .max_frame_size(Some(limits::FRAME_BYTES_MAX))
        .max_write_buffer_size(limits::WRITE_BUFFER_BYTES_MAX)
        // One session is one of up to 10,000 at an arbiter: buffers start small and grow when used.
        .read_buffer_size(4 * 1024)
        .write_buffer_size(16 * 1024)
}

fn transport(cause: WsError) -> LinkError {
    match cause {
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            LinkError::Protocol(canister_protocol::Error::TooLong { bytes: size, limit: max_size })
        }
        WsError::Utf8(_) => {
            LinkError::Protocol(canister_protocol::Error::NotJson { at: 0, why: "UTF-8" })
        }
        // A program that is killed says no goodbye.
        WsError::Io(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::UnexpectedEof
            ) =>
        {
            LinkError::Closed { code: 1006, reason: String::new() }
        }
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | WsError::ConnectionClosed
        | WsError::AlreadyClosed => LinkError::Closed { code: 1006, reason: String::new() },
        WsError::Io(cause) if refusal::is_revoked(&cause) => LinkError::Revoked,
        WsError::Io(cause) => LinkError::Transport(refusal::explained(&cause)),
        WsError::Http(response) if response.status() == NoSession::Revoked.status() => {
            LinkError::Revoked
        }
        WsError::Http(response) => {
            let said = response.body().as_deref().unwrap_or_default();
            let said = String::from_utf8_lossy(&said[..said.len().min(REFUSAL_BYTES_MAX)]);
            let said = said.split(char::is_control).next().unwrap_or_default();
            LinkError::Transport(format!("HTTP status {}: {said}", response.status().as_u16()))
        }
        other => LinkError::Transport(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_arbiters_answer_says_is_read_or_refused() {
        let told = |date: &'static str, named: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_static(date));
            headers.insert(database::HEADER, HeaderValue::from_bytes(named).unwrap());
            headers.insert(RECORD_HEADER, HeaderValue::from_static("failed"));
            headers.insert(FLOOR_HEADER, HeaderValue::from_static("0.2.0 60"));
            Told::read(&headers)
        };
        assert_eq!(Told::read(&HeaderMap::new()), Ok(Told::default()));
        let both = told("Thu, 01 Jan 1970 00:01:00 GMT", b"db.example,[::1]:7/canister");
        let both = both.unwrap();
        assert_eq!((both.clock, both.record.as_deref()), (Some(60), Some("failed")));
        assert_eq!(both.floor, Floor::new("0.2.0", 60).ok());
        let database = both.database.unwrap().to_string();
        assert_eq!(database, "db.example:5432,[::1]:7/canister");
        for (named, date) in [
            (&b""[..], "Thu, 01 Jan 1970 00:01:00 GMT"),
            (b"/run/postgresql", "yesterday"),
            (b"a/b host=/tmp", ""),
            (b"\xff/a", ""),
            (&[b'a'; 60_000], ""),
        ] {
            let said = told(date, named).unwrap_err();
            assert!(said.contains("Canister-Database"), "{said}");
            assert!(said.len() < 500, "{} bytes", said.len());
        }
    }
}
