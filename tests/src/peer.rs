//! A peer whose every word is chosen by the test: real TLS, a real WebSocket, and whatever bytes a
//! hostile or broken peer might send.

use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{Error as WsError, Message};
use async_tungstenite::{WebSocketStream, client_async_with_config};
use canister_link::identity::{Files, Identity};
use canister_protocol::codec::{self, Payload};
use canister_protocol::limits::PROTOCOL;
use canister_protocol::row::MAPPING;
use canister_protocol::{Source, ToArbiter, ToPeer};
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use rustls::pki_types::ServerName;
use smol::Timer;
use smol::future::FutureExt as _;
use smol::net::TcpStream;
use smol::stream::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;

/// How long a test waits for the arbiter to say something.
const WAIT: Duration = Duration::from_secs(20);

/// One end of a session.
pub struct Peer(WebSocketStream<TlsStream<TcpStream>>);

/// How the arbiter ended a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// RFC 6455 status code; 1006 without a close frame.
    pub code: u16,
    /// Its reason, or the transport's error.
    pub reason: String,
}

impl Peer {
    /// Connects and does the handshakes, no more. `listen` is the arbiter's `address:port`.
    ///
    /// # Errors
    /// What the handshake failed with.
    pub fn connect(listen: &str, files: &Files) -> Result<Self, String> {
        let config = Identity::load(files).map_err(|cause| cause.to_string())?.client_config();
        Self::connect_with(listen, config.map_err(|cause| cause.to_string())?)
    }

    /// The same with any TLS settings.
    ///
    /// # Errors
    /// What the handshake failed with.
    pub fn connect_with(listen: &str, config: rustls::ClientConfig) -> Result<Self, String> {
        in_time(async {
            let stream = TcpStream::connect(listen).await.map_err(|cause| cause.to_string())?;
            let name = ServerName::try_from("localhost").expect("a name");
            let tls = TlsConnector::from(Arc::new(config));
            let stream = tls.connect(name, stream).await.map_err(|cause| cause.to_string())?;
            // The test may send more than the programs would.
            let settings = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
            let address = format!("wss://{listen}/connect");
            client_async_with_config(address, stream, Some(settings))
                .await
                .map(|(socket, _)| Self(socket))
                .map_err(|cause| match cause {
                    WsError::Http(response) => {
                        let said = response.body().as_deref().unwrap_or_default();
                        format!("{}: {}", response.status(), String::from_utf8_lossy(said))
                    }
                    cause => cause.to_string(),
                })
        })
    }

    /// Connects, says Hello and offers `slots`.
    ///
    /// # Errors
    /// What the handshake failed with.
    pub fn greet(listen: &str, files: &Files, slots: u32) -> Result<Self, String> {
        let mut peer = Self::connect(listen, files)?;
        peer.say(&hello(&[]));
        match peer.hear() {
            Ok(ToPeer::Welcome { .. }) => {}
            other => return Err(format!("{other:?} instead of Welcome")),
        }
        peer.say(&ToArbiter::Offer { reaches: None, bytes: None, slots });
        Ok(peer)
    }

    /// Says a message.
    pub fn say(&mut self, message: &ToArbiter) {
        self.send(sent(message));
    }

    /// Sends any WebSocket message; that the arbiter has closed meanwhile is no failure here.
    pub fn send(&mut self, message: Message) {
        let _ = in_time(self.0.send(message));
    }

    /// The next message of the arbiter.
    ///
    /// # Errors
    /// The session has ended.
    pub fn hear(&mut self) -> Result<ToPeer, Ended> {
        loop {
            let ended = |code: u16, reason: String| Err(Ended { code, reason });
            match in_time(self.0.next()) {
                Some(Ok(Message::Text(text))) => {
                    return Ok(codec::decode(text.as_bytes()).expect("what an arbiter says"));
                }
                Some(Ok(Message::Binary(bytes))) => {
                    return Ok(codec::decode_binary(&bytes).expect("what an arbiter says"));
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    return ended(frame.code.into(), frame.reason.as_str().to_owned());
                }
                None | Some(Ok(Message::Close(None)) | Err(WsError::ConnectionClosed)) => {
                    return ended(1006, String::new());
                }
                Some(Err(cause)) => return ended(1006, cause.to_string()),
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message, whatever is said of its record before.
    pub fn answer(&mut self) -> Result<ToPeer, Ended> {
        loop {
            match self.hear() {
                Ok(ToPeer::Record { .. }) => {}
                heard => return heard,
            }
        }
    }

    /// The next grant; anything else is a failed test.
    pub fn granted(&mut self) -> (u64, Source) {
        match self.answer() {
            Ok(ToPeer::Grant { lease, source, .. }) => (lease, source),
            other => panic!("{other:?} instead of a grant"),
        }
    }

    /// How the session ends, whatever is said before.
    pub fn end(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.hear() {
                return ended;
            }
        }
    }
}

/// A Hello that names these leases.
pub fn hello(leases: &[u64]) -> ToArbiter {
    ToArbiter::Hello {
        protocol: PROTOCOL,
        mapping: Some(MAPPING),
        obeys: None,
        public_name: None,
        never: None,
        agent: "test".to_owned(),
        leases: leases.to_vec(),
    }
}

fn in_time<T>(doing: impl Future<Output = T>) -> T {
    smol::block_on(doing.or(async {
        Timer::after(WAIT).await;
        panic!("nothing happened for {} s", WAIT.as_secs());
    }))
}

/// A message as a WebSocket carries it.
pub fn sent(message: &ToArbiter) -> Message {
    match codec::payload(message) {
        Payload::Text(text) => Message::text(text),
        Payload::Binary(bytes) => Message::binary(bytes),
    }
}
