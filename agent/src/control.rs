//! The owner's door: a Unix socket on which `status`, `pause`, `resume` and `drain` ask the running
//! agent. One line in, one line out, then the connection ends. Who may use it is decided by its file
//! permissions, which are its owner's alone; no network reaches it.

use crate::config::{AgentConfig, DIR};
use canister_link::{clock, local};
use canister_protocol::span::Span;
use log::{debug, warn};
use smol::Timer;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;
use smol::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use smol::net::unix::{UnixListener, UnixStream};
use std::fmt;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The socket's name in its folder.
const NAME: &str = "agent.sock";
/// Where systemd puts the service's.
const SERVICE_FOLDER: &str = "/run/canister-agent";
/// Longest request in bytes.
const REQUEST_BYTES_MAX: u64 = 64;
/// Longest answer in bytes: 64 leases with their sources' addresses, and then some.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// How long a client may take to send its request, and to read the answer.
const CLIENT_MAX: Duration = Duration::from_secs(1);
/// How long the answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What the owner asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Take no more, finish what is in hand.
    Drain,
    /// Take no more and give back what is in hand, for so long or until `resume`.
    Pause(Option<Duration>),
    Resume,
    Status,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain => f.write_str("drain"),
            Self::Pause(None) => f.write_str("pause"),
            Self::Pause(Some(time)) => write!(f, "pause {}", Span(*time)),
            Self::Resume => f.write_str("resume"),
            Self::Status => f.write_str("status"),
        }
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(' ') {
            Some(("pause", time)) => Ok(Self::Pause(Some(time.parse::<Span>()?.0))),
            None if text == "drain" => Ok(Self::Drain),
            None if text == "pause" => Ok(Self::Pause(None)),
            None if text == "resume" => Ok(Self::Resume),
            None if text == "status" => Ok(Self::Status),
            _ => Err("use drain, pause, resume or status".to_owned()),
        }
    }
}

/// One request, for the agent's loop.
#[derive(Debug)]
pub struct Question {
    pub word: Word,
    /// Takes one line.
    pub answer: Sender<String>,
}

/// Where the agent of these settings listens: in the folder that systemd gives the service, else in the
/// peer's.
pub fn place(config: &AgentConfig) -> PathBuf {
    let runtime = || std::env::var_os("RUNTIME_DIRECTORY").map(|it| Path::new(&it).join(NAME));
    config.socket.clone().or_else(runtime).unwrap_or_else(|| config.dir.join(NAME))
}

/// Where an agent that was started with these settings may listen, the likeliest first: somebody who
/// asks the service isn't told where systemd put its folder.
fn places(socket: Option<PathBuf>, dir: &Path) -> Vec<PathBuf> {
    if let Some(socket) = socket {
        return vec![socket];
    }
    let service = (dir == Path::new(DIR)).then(|| Path::new(SERVICE_FOLDER).join(NAME));
    service.into_iter().chain([dir.join(NAME)]).collect()
}

/// The owner's door while the agent runs; it is gone afterwards.
#[derive(Debug)]
pub struct OwnersDoor {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl OwnersDoor {
    /// Opens it. An agent without one works; it can't be asked.
    pub fn open(path: PathBuf) -> Self {
        let opened = local::listen(&path, 0o600).and_then(smol::Async::new);
        let listener = match opened {
            Ok(listener) => Some(listener.into()),
            Err(cause) => {
                let help = match cause.kind() {
                    io::ErrorKind::AddrInUse => "another agent answers there",
                    _ => "",
                };
                warn!(path:% = path.display(), cause:%, help; "no socket for `status` and `pause`; --socket names another place");
                None
            }
        };
        Self { listener, path }
    }

    /// Takes requests for ever, one after the other, and has them answered.
    pub async fn serve(&self, asks: &Sender<Question>) {
        let Some(listener) = &self.listener else { return };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(cause) = answer(stream, asks).await {
                        debug!(cause:%; "a request of the owner's failed");
                    }
                }
                Err(cause) => {
                    debug!(cause:%; "couldn't accept a connection of the owner's");
                    Timer::after(CLIENT_MAX).await;
                }
            }
        }
    }
}

impl Drop for OwnersDoor {
    fn drop(&mut self) {
        if self.listener.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn answer(mut stream: UnixStream, asks: &Sender<Question>) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(REQUEST_BYTES_MAX));
    within(CLIENT_MAX, reader.read_line(&mut line)).await?;
    let said = match line.trim_end().parse() {
        Ok(word) => {
            let (answer, answered) = smol::channel::bounded(1);
            let asked = async {
                // The loop outlives this task.
                let _ = asks.send(Question { word, answer }).await;
                Ok(answered.recv().await.unwrap_or_default())
            };
            within(ANSWER_MAX, asked).await?
        }
        Err(why) => format!("{REFUSED}{why}"),
    };
    within(CLIENT_MAX, stream.write_all(format!("{said}\n").as_bytes())).await
}

/// How an answer begins that says why nothing was done.
pub const REFUSED: &str = "refused: ";

async fn within<T>(longest: Duration, done: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let over = async {
        Timer::after(longest).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    done.or(over).await
}

/// Asks the agent that was started with these settings; blocks.
///
/// # Errors
/// One line that says what to do.
pub fn ask(socket: Option<PathBuf>, dir: &Path, word: Word) -> Result<String, String> {
    let places = places(socket, dir);
    let mut why = None;
    for path in &places {
        match try_ask(path, word) {
            Ok(answer) if answer.is_empty() => {
                return Err("the agent stopped before it answered".to_owned());
            }
            Ok(answer) => match answer.strip_prefix(REFUSED) {
                Some(why) => return Err(why.trim_end().to_owned()),
                None => return Ok(answer),
            },
            // The one that says most: a socket that is there.
            Err(cause) if why.is_none() || cause.kind() != io::ErrorKind::NotFound => {
                let help = match cause.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        "no agent is running there; start it, or name its folder with --dir"
                    }
                    io::ErrorKind::PermissionDenied => "run this as the agent's user or as root",
                    _ => "its log says more",
                };
                why = Some(format!("ask the agent at {}: {cause}; {help}", path.display()));
            }
            Err(_) => {}
        }
    }
    Err(why.unwrap_or_default())
}

fn try_ask(path: &Path, word: Word) -> io::Result<String> {
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(2 * ANSWER_MAX))?;
    stream.write_all(format!("{word}\n").as_bytes())?;
    let mut answer = String::new();
    io::BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer)?;
    Ok(answer)
}

/// The next request of the owner's.
pub async fn next(asks: &Receiver<Question>) -> Question {
    match asks.recv().await {
        Ok(ask) => ask,
        Err(_) => smol::future::pending().await,
    }
}

/// A time that is left, as people say it: `2 h 5 min`, `40 s`.
pub fn about(left: Duration) -> String {
    // What was asked for a moment ago is still all of it.
    let secs = left.as_millis().div_ceil(1000);
    match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// How long ago `then` was, in milliseconds since 1970.
pub fn ago(then: u64) -> String {
    about(Duration::from_millis(clock::wall_millis().saturating_sub(then)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_as_it_is_written() {
        for word in [
            Word::Drain,
            Word::Pause(None),
            Word::Pause(Some(Duration::from_secs(7200))),
            Word::Resume,
            Word::Status,
        ] {
            assert_eq!(word.to_string().parse(), Ok(word));
        }
        for text in ["", "stop", "pause 2", "pause ", "status x", "resume\n"] {
            assert!(text.parse::<Word>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_service_is_looked_for_where_systemd_puts_it() {
        let paths = |socket: Option<&str>, dir: &str| {
            let places = places(socket.map(PathBuf::from), Path::new(dir));
            places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(paths(Some("/a"), "/b"), ["/a"]);
        assert_eq!(paths(None, "/b"), ["/b/agent.sock"]);
        let service = ["/run/canister-agent/agent.sock", "/var/lib/canister-agent/agent.sock"];
        assert_eq!(paths(None, DIR), service);
    }

    #[test]
    fn times_are_told_in_two_units_at_most() {
        for (secs, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h 59 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(about(Duration::from_secs(secs)), text);
        }
    }
}
