//! What connections carry, byte by byte: counted, and kept within what their owner allows.
//!
//! Every connection asks its [`Meter`] before each read and each write, and tells it what came of it: so
//! what is counted is what the socket carried, TLS included, and not one byte more goes than may. Bytes
//! that the kernel has taken and nobody read are counted when the connection closes.

use crate::clock;
use rustix::io::ioctl_fionread;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use smol::Timer;
use smol::io::{AsyncRead, AsyncWrite};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// What the kernel is told to hold of a connection that is metered, in bytes; it takes twice that.
const WINDOW_BYTES: usize = 64 * 1024;

/// Who decides and counts. It is asked from any thread and never waits long.
pub trait Meter: fmt::Debug + Send + Sync {
    /// A connection for `host` is about to be opened; whether what the kernel holds of it is to be
    /// kept small, because there is a bound that must not be passed.
    ///
    /// # Errors
    /// [`Capped`]: nothing may go.
    fn opens(&self, host: &str) -> io::Result<bool>;

    /// Allows 1 to `bytes` bytes more, each way the same; [`carried`](Self::carried) takes back what
    /// wasn't used.
    ///
    /// # Errors
    /// [`Capped`]: nothing may go.
    fn allows(&self, bytes: usize) -> io::Result<Allowed>;

    /// Of so many `allowed` bytes these were carried.
    fn carried(&self, host: &str, allowed: usize, sent: usize, received: usize);

    /// A connection closes, with so many bytes in the kernel that nobody read; `is_amid` says whether
    /// more may be on the way.
    fn closes(&self, host: &str, unread: usize, is_amid: bool);
}

/// What a [`Meter`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// So many bytes, now.
    Now(usize),
    /// Nothing yet; to be asked again after this time.
    After(Duration),
}

/// Why nothing goes over the line, in words: inside an [`io::Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capped(pub String);

impl fmt::Display for Capped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Capped {}

impl Capped {
    /// Whether an error is one, however deep.
    pub fn is_in(cause: &(dyn std::error::Error + 'static)) -> bool {
        if cause.is::<Self>() {
            return true;
        }
        // An I/O error's own cause is the cause of what it holds.
        let held = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match held {
            Some(held) => Self::is_in(held),
            None => cause.source().is_some_and(Self::is_in),
        }
    }
}

/// A meter, where there is one.
pub type MaybeMeter = Option<Arc<dyn Meter>>;

/// One connection, as its meter sees it.
#[derive(Debug)]
pub struct MeteredLine {
    meter: MaybeMeter,
    host: String,
    is_kept_small: bool,
    /// When bytes came last, and no end since.
    came: Option<Instant>,
}

/// How long after its last byte a connection counts as one on which more may be on the way.
const AMID: Duration = Duration::from_secs(2);

impl MeteredLine {
    /// A connection for `host` that is about to be opened.
    ///
    /// # Errors
    /// [`Capped`].
    pub fn open(meter: &MaybeMeter, host: &str) -> io::Result<Self> {
        let is_kept_small = meter.as_ref().map_or(Ok(false), |meter| meter.opens(host))?;
        Ok(Self { meter: meter.clone(), host: host.to_owned(), is_kept_small, came: None })
    }

    /// It is open: what the kernel may hold of it is bounded from here on, where that is wanted.
    ///
    /// # Errors
    /// The system's.
    pub fn is_open(&self, stream: impl AsFd) -> io::Result<()> {
        if self.is_kept_small {
            set_socket_recv_buffer_size(stream, WINDOW_BYTES)?;
        }
        Ok(())
    }

    /// How many of `bytes` may be carried now.
    ///
    /// # Errors
    /// [`Capped`].
    pub fn allows(&self, bytes: usize) -> io::Result<Allowed> {
        match &self.meter {
            Some(meter) if bytes > 0 => meter.allows(bytes),
            _ => Ok(Allowed::Now(bytes)),
        }
    }

    /// The same; waits where nothing may be carried yet.
    ///
    /// # Errors
    /// [`Capped`].
    pub fn waits(&self, bytes: usize) -> io::Result<usize> {
        loop {
            match self.allows(bytes)? {
                Allowed::Now(bytes) => return Ok(bytes),
                Allowed::After(time) => clock::sleep(time),
            }
        }
    }

    /// What came of a write of `allowed` bytes.
    pub fn sent(&self, allowed: usize, bytes: usize) {
        if let Some(meter) = &self.meter {
            meter.carried(&self.host, allowed, bytes, 0);
        }
    }

    /// What came of a read of `allowed` bytes.
    pub fn received(&mut self, allowed: usize, bytes: usize) {
        if let Some(meter) = &self.meter {
            meter.carried(&self.host, allowed, 0, bytes);
            self.came = (bytes > 0).then(clock::now);
        }
    }

    /// The connection is over.
    pub fn closes(&self, stream: impl AsFd) {
        if let Some(meter) = &self.meter {
            let unread = ioctl_fionread(stream).unwrap_or_default();
            let unread = usize::try_from(unread).unwrap_or(usize::MAX);
            let is_amid = unread > 0 || self.came.is_some_and(|came| clock::now() - came < AMID);
            meter.closes(&self.host, unread, is_amid);
        }
    }
}

/// A stream that its meter counts.
#[derive(Debug)]
pub struct Metered<S: AsFd> {
    stream: S,
    line: MeteredLine,
    /// What a read and what a write wait for: each has its own, for a timer wakes one task, and two may
    /// share a stream.
    waits: [Option<Timer>; 2],
}

const READ: usize = 0;
const WRITE: usize = 1;

impl<S: AsFd> Metered<S> {
    /// Counts for `line` what `stream`, which was opened for it, carries from here on.
    ///
    /// # Errors
    /// The system's.
    pub fn over(line: MeteredLine, stream: S) -> io::Result<Self> {
        line.is_open(&stream)?;
        Ok(Self { stream, line, waits: [None, None] })
    }

    /// The stream itself, for its options.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    fn poll_allowed(
        &mut self,
        context: &mut Context<'_>,
        way: usize,
        bytes: usize,
    ) -> Poll<io::Result<usize>> {
        let wait = &mut self.waits[way];
        loop {
            if let Some(timer) = wait {
                ready!(Pin::new(timer).poll(context));
                *wait = None;
            }
            match self.line.allows(bytes)? {
                Allowed::Now(bytes) => return Poll::Ready(Ok(bytes)),
                Allowed::After(time) => *wait = Some(Timer::after(time)),
            }
        }
    }
}

impl<S: AsFd> Drop for Metered<S> {
    fn drop(&mut self) {
        self.line.closes(&self.stream);
    }
}

fn carried(polled: &Poll<io::Result<usize>>) -> usize {
    match polled {
        Poll::Ready(Ok(bytes)) => *bytes,
        _ => 0,
    }
}

impl<S: AsyncRead + AsFd + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let allowed = ready!(self.poll_allowed(context, READ, into.len()))?;
        let read = Pin::new(&mut self.stream).poll_read(context, &mut into[..allowed]);
        self.line.received(allowed, carried(&read));
        read
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let allowed = ready!(self.poll_allowed(context, WRITE, bytes.len()))?;
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes[..allowed]);
        self.line.sent(allowed, carried(&written));
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
