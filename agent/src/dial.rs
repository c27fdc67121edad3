//! The way to an arbiter, step by step: resolve its name, connect, TLS, WebSocket. Which step failed
//! is in the error, for `run` logs it and `check` tells it.

use crate::config::Address;
use canister_link::refusal;
use canister_link::websocket::{HANDSHAKE_MAX, Link};
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use rustls::pki_types::ServerName;
use smol::future::FutureExt as _;
use smol::net::TcpStream;
use smol::{LocalExecutor, Timer};
use std::sync::Arc;

/// A link to an arbiter.
pub type ArbiterLink = Link<TlsStream<TcpStream>>;

/// Opens a link to an arbiter, within [`HANDSHAKE_MAX`].
///
/// # Errors
/// One line: which step failed, on what, and where that is known, what would work.
pub async fn dial(
    executor: &LocalExecutor<'_>,
    address: &Address,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<ArbiterLink, String> {
    let (host, port) = (address.host(), address.port());
    let opening = async {
        let found = smol::net::resolve((host, port))
            .await
            .map_err(|cause| format!("look up the name {host}: {cause}"))?;
        let stream = TcpStream::connect(&*found)
            .await
            .map_err(|cause| format!("connect to {host}:{port}: {cause}"))?;
        // Messages are small and each is waited for.
        stream.set_nodelay(true).map_err(|cause| format!("set TCP_NODELAY: {cause}"))?;
        let name =
            ServerName::try_from(host.to_owned()).map_err(|cause| format!("{host}: {cause}"))?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
            .map_err(|cause| format!("TLS handshake: {}", refusal::explained(&cause)))?;
        Link::open(executor, address.as_str(), stream)
            .await
            .map_err(|cause| format!("WebSocket handshake: {cause}"))
    };
    opening
        .or(async {
            Timer::after(HANDSHAKE_MAX).await;
            Err(format!("no answer within {} s", HANDSHAKE_MAX.as_secs()))
        })
        .await
}
