//! The connection to the database, counted: what is below its TLS.
//!
//! It runs on a thread of its own, with all that the client does, and so it may wait there.

use canister_link::meter::{MaybeMeter, MeteredLine};
use postgres::Socket;
use postgres::tls::{MakeTlsConnect, TlsConnect};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What a client of PostgreSQL asks for TLS, and is answered (PostgreSQL, "SSLRequest"), in bytes:
/// before there is anything to count them.
const ASKED_BYTES: (usize, usize) = (8, 1);

/// TLS over counted connections.
#[derive(Clone)]
pub(super) struct MakeMeteredConnect {
    pub tls: MakeRustlsConnect,
    pub meter: MaybeMeter,
}

pub(super) struct MeteredConnect {
    tls: Tls,
    line: io::Result<MeteredLine>,
}

type Tls = <MakeRustlsConnect as MakeTlsConnect<MeteredSocket>>::TlsConnect;

pub(super) struct MeteredSocket {
    socket: Socket,
    line: MeteredLine,
}

impl MakeTlsConnect<Socket> for MakeMeteredConnect {
    type Stream = <Tls as TlsConnect<MeteredSocket>>::Stream;
    type TlsConnect = MeteredConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<MeteredSocket>>::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<MeteredConnect, Self::Error> {
        let tls = MakeTlsConnect::<MeteredSocket>::make_tls_connect(&mut self.tls, host)?;
        Ok(MeteredConnect { tls, line: MeteredLine::open(&self.meter, host) })
    }
}

impl TlsConnect<Socket> for MeteredConnect {
    type Stream = <Tls as TlsConnect<MeteredSocket>>::Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let mut line = self.line?;
            line.sent(0, ASKED_BYTES.0);
            line.received(0, ASKED_BYTES.1);
            self.tls.connect(MeteredSocket { socket, line }).await
        })
    }
}

impl AsyncRead for MeteredSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let allowed = this.line.waits(into.remaining())?;
        let mut part = ReadBuf::new(into.initialize_unfilled_to(allowed));
        let read = Pin::new(&mut this.socket).poll_read(context, &mut part);
        let bytes = part.filled().len();
        into.advance(bytes);
        if read.is_ready() || bytes > 0 {
            this.line.received(allowed, bytes);
        } else {
            this.line.sent(allowed, 0);
        }
        read
    }
}

impl AsyncWrite for MeteredSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let allowed = this.line.waits(bytes.len())?;
        let written = Pin::new(&mut this.socket).poll_write(context, &bytes[..allowed]);
        this.line.sent(
            allowed,
            matches!(written, Poll::Ready(Ok(_)))
                .then(|| match &written {
                    Poll::Ready(Ok(bytes)) => *bytes,
                    _ => 0,
                })
                .unwrap_or(0),
        );
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
