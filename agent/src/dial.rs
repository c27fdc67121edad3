//! The way to an arbiter, step by step: resolve its name, connect by whichever family of addresses
//! works and through a proxy where there is one, TLS, WebSocket. Which step failed is in the error,
//! for `run` logs it and `check` tells it.

use crate::config::ArbiterAddress;
use canister_link::dial::{self, DialStep, NotOpened};
use canister_link::meter::{MaybeMeter, Metered, MeteredLine};
use canister_link::refusal;
use canister_link::websocket::{HANDSHAKE_MAX, Link, LinkError};
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use rustls::pki_types::ServerName;
use smol::future::FutureExt as _;
use smol::net::TcpStream;
use smol::{LocalExecutor, Timer};
use std::sync::Arc;
use std::time::Duration;

/// How long connecting may take: what is left of [`HANDSHAKE_MAX`] is for TLS, and for telling which
/// addresses didn't answer.
const CONNECT_MAX: Duration = Duration::from_secs(12);

/// A link to an arbiter.
pub type ArbiterLink = Link<TlsStream<Metered<TcpStream>>>;

/// An open way to an arbiter.
#[derive(Debug)]
pub struct Dialled {
    pub link: ArbiterLink,
    /// Which of its addresses didn't answer, if another did instead.
    pub passed_over: Option<String>,
}

/// Opens a link to an arbiter, within [`HANDSHAKE_MAX`]; `meter` counts what it carries.
///
/// # Errors
/// One line: which step failed, on what, and where that is known, what to do.
pub async fn dial(
    executor: &LocalExecutor<'_>,
    address: &ArbiterAddress,
    tls: &Arc<rustls::ClientConfig>,
    meter: &MaybeMeter,
) -> Result<Dialled, NotOpened> {
    let (host, port) = (address.host(), address.port());
    let opening = async {
        let line = MeteredLine::open(meter, host).map_err(|cause| cause.to_string());
        let mut line = line.map_err(|why| NotOpened::new(DialStep::Connect, why))?;
        let connected = dial::open(host, port, CONNECT_MAX, &mut line).await?;
        let passed_over = Some(connected.passed_over).filter(|passed_over| !passed_over.is_empty());
        let stream = TcpStream::from(connected.stream);
        // Messages are small and each is waited for.
        let failed = |step| move |why: String| NotOpened::new(step, why);
        let set = stream.set_nodelay(true).map_err(|cause| format!("set TCP_NODELAY: {cause}"));
        set.map_err(failed(DialStep::Connect))?;
        let metered = Metered::over(line, stream).map_err(|cause| cause.to_string());
        let stream = metered.map_err(failed(DialStep::Connect))?;
        let name = ServerName::try_from(host.to_owned());
        let name =
            name.map_err(|cause| format!("{host}: {cause}")).map_err(failed(DialStep::Tls))?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
            .map_err(|cause| format!("TLS handshake: {}", refusal::explained(&cause)))
            .map_err(failed(DialStep::Tls))?;
        let link = Link::open(executor, address.as_str(), stream).await.map_err(|cause| {
            let why = format!("WebSocket handshake: {cause}");
            // What came before TLS was done, anybody on the way may have said.
            let is_revoked = matches!(cause, LinkError::Revoked);
            let step = if is_revoked { DialStep::Revoked } else { DialStep::Greet };
            NotOpened::new(step, why)
        })?;
        Ok(Dialled { link, passed_over: passed_over.map(|passed_over| passed_over.to_string()) })
    };
    opening
        .or(async {
            Timer::after(HANDSHAKE_MAX).await;
            let why = format!("no answer within {} s", HANDSHAKE_MAX.as_secs());
            Err(NotOpened::new(DialStep::Greet, why))
        })
        .await
}
