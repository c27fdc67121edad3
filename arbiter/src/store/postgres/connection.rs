//! Getting a connection: where the database is, TLS, and a bound on how long it may take; and what is
//! said over it, of which several things can be on the way at once.

use canister_link::clock;
use canister_link::identity::{Files, Identity, IdentityError};
use postgres::types::ToSql;
use rustls::ClientConfig;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::{self, Runtime};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Error, NoTls, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long one host may take to let us in. A server that accepts and then stays silent is bound
/// by nothing else.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Most attempts that may still wait for such a server.
const STUCK_MAX: usize = 8;
/// A connection whose other end is gone is found out within about this time, also while an answer
/// is awaited: probes begin after it, and what was sent must be acknowledged within it.
const GONE_MAX: Duration = Duration::from_secs(20);

/// What every connection begins with. Temporary tables come last: no name can be taken for another.
const SETTINGS: &str = "
    SET search_path = arbiter, public, pg_temp;
    SET lock_timeout = '10s';
    SET statement_timeout = '15min';
    SET idle_in_transaction_session_timeout = '1min';
    SET client_min_messages = warning;
    SET timezone = 'UTC';
    SET work_mem = '32MB';
    SET jit = off";

/// Where a database is and how to get in: what `--database` says.
#[derive(Clone)]
pub struct Address {
    config: Box<Config>,
    tls: Option<Arc<ClientConfig>>,
    /// Where that comes from: read again at each connection, for certificates are renewed.
    files: Option<Files>,
    /// Hosts, ports and the database's name: all but how to get in.
    shown: String,
}

/// Why an address can't be used. Displayed as one line with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Whether `text` is meant as the address of a server, not as a file's name: a URL, or keys
    /// and values (`host=… dbname=…`).
    pub fn is_meant(text: &str) -> bool {
        let is_key =
            |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        text.starts_with("postgres://")
            || text.starts_with("postgresql://")
            || text.split_once('=').is_some_and(|(key, _)| is_key(key.trim()))
    }

    /// The same with a certificate to show to the server, and the authority whose certificate the
    /// server must have. Without it, only servers on this machine's Unix sockets and those of
    /// `sslmode=disable` can be reached.
    ///
    /// # Errors
    /// The files can't be used.
    pub fn with_identity(mut self, files: &Files) -> Result<Self, AddressError> {
        if !self.wants_tls() {
            return Ok(self);
        }
        // Its files have options of their own.
        let named = |cause: IdentityError| {
            let options = ["--certificate", "--key", "--authority"].into_iter();
            let said = options.fold(cause.to_string(), |said, option| {
                said.replace(option, &format!("--database-{}", &option[2..]))
            });
            AddressError(said)
        };
        let identity = Identity::load(files).map_err(named)?;
        let tls = identity.client_config();
        self.tls = Some(Arc::new(tls.map_err(|cause| AddressError(cause.to_string()))?));
        self.files = Some(files.clone());
        Ok(self)
    }

    /// Whether any host is to be reached with TLS.
    fn wants_tls(&self) -> bool {
        let mut hosts = self.config.get_hosts().iter();
        let by_name = hosts.any(|host| matches!(host, Host::Tcp(_)));
        let is_tcp = by_name || !self.config.get_hostaddrs().is_empty();
        is_tcp && self.config.get_ssl_mode() != SslMode::Disable
    }

    /// The same for reading: a standby will do.
    pub(super) fn for_reading(mut self) -> Self {
        self.config.target_session_attrs(TargetSessionAttrs::Any);
        self
    }

    /// Connects to the first host that lets us in and is what is wanted.
    ///
    /// # Errors
    /// Why no host did, each with its name.
    pub(super) fn connect(&self) -> Result<Connection, String> {
        self.first_host(Connection::open).and_then(Connection::begin)
    }

    /// The same, to listen.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub(super) fn listen(&self) -> Result<postgres::Client, String> {
        let listening = self.first_host(|config, tls| {
            let config = postgres::Config::from(config);
            match tls {
                Some(tls) => config.connect(MakeRustlsConnect::new(tls)),
                None => config.connect(NoTls),
            }
        });
        let mut client = listening?;
        client.batch_execute(SETTINGS).map_err(|cause| super::said(&cause))?;
        Ok(client)
    }

    fn first_host<T: Send + 'static>(
        &self,
        open: fn(Config, Option<ClientConfig>) -> Result<T, Error>,
    ) -> Result<T, String> {
        let mut whys = Vec::new();
        // What can't be read now was good before.
        let newest = self.files.as_ref().and_then(|files| Identity::load(files).ok());
        let newest = newest.and_then(|identity| identity.client_config().ok()).map(Arc::new);
        let tls = newest.or_else(|| self.tls.clone());
        for (name, config) in self.hosts() {
            match within_time(config, tls.clone(), open) {
                Ok(connection) => return Ok(connection),
                Err(why) => whys.push(format!("{name}: {why}")),
            }
        }
        Err(whys.join("; "))
    }

    /// One configuration a host, so that each has its own time.
    fn hosts(&self) -> Vec<(String, Config)> {
        let (hosts, addresses) = (self.config.get_hosts(), self.config.get_hostaddrs());
        let ports = self.config.get_ports();
        (0..hosts.len().max(addresses.len()))
            .map(|number| {
                let mut one = self.without_hosts();
                let mut name = String::new();
                match hosts.get(number) {
                    Some(Host::Tcp(host)) => {
                        one.host(host);
                        one.ssl_mode(match self.config.get_ssl_mode() {
                            SslMode::Disable => SslMode::Disable,
                            // Never less: what can be had without TLS, anybody on the way can
                            // pretend to be.
                            _ => SslMode::Require,
                        });
                        name.clone_from(host);
                    }
                    Some(Host::Unix(path)) => {
                        one.host_path(path);
                        one.ssl_mode(SslMode::Disable);
                        name = path.display().to_string();
                    }
                    None => {}
                }
                if let Some(address) = addresses.get(number) {
                    one.hostaddr(*address);
                    if name.is_empty() {
                        name = address.to_string();
                    }
                }
                let port = match ports {
                    [] => 5432,
                    [port] => *port,
                    several => several.get(number).copied().unwrap_or(5432),
                };
                one.port(port);
                (format!("{name} port {port}"), one)
            })
            .collect()
    }

    fn without_hosts(&self) -> Config {
        let given = &self.config;
        let mut one = Config::new();
        if let Some(user) = given.get_user() {
            one.user(user);
        }
        if let Some(password) = given.get_password() {
            one.password(password);
        }
        if let Some(name) = given.get_dbname() {
            one.dbname(name);
        }
        if let Some(options) = given.get_options() {
            one.options(options);
        }
        one.application_name(given.get_application_name().unwrap_or("canister-arbiter"));
        one.target_session_attrs(given.get_target_session_attrs());
        one.connect_timeout(*given.get_connect_timeout().unwrap_or(&CONNECT_MAX));
        one.tcp_user_timeout(*given.get_tcp_user_timeout().unwrap_or(&GONE_MAX));
        one.keepalives_idle(given.get_keepalives_idle().min(GONE_MAX));
        one.keepalives_interval(given.get_keepalives_interval().unwrap_or(GONE_MAX / 4));
        one.keepalives_retries(given.get_keepalives_retries().unwrap_or(4));
        one.ssl_mode(given.get_ssl_mode());
        one
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // libpq's stricter modes are what TLS always is here: the server's name is verified.
        let text = text
            .replace("sslmode=verify-full", "sslmode=require")
            .replace("sslmode=verify-ca", "sslmode=require");
        let help = "use postgres://USER@HOST[:PORT][,HOST…]/DATABASE or host=… dbname=…";
        let mut config: Config = text
            .parse()
            // What the parser says may hold what stands there for a password.
            .map_err(|_| AddressError(format!("not an address of a database; {help}")))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(AddressError(format!("names no host; {help}")));
        }
        if config.get_password().is_none()
            && let Some(password) = std::env::var_os("PGPASSWORD")
        {
            config.password(password.into_encoded_bytes());
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let mut address =
            Self { config: Box::new(config), tls: None, files: None, shown: String::new() };
        let hosts: Vec<String> = address.hosts().into_iter().map(|(name, _)| name).collect();
        let name = address.config.get_dbname().unwrap_or_default();
        address.shown = format!("{name} on {}", hosts.join(", "));
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.shown)
    }
}

/// Connects in a thread of its own, which is left behind where it takes too long: nothing can end
/// it, but the server's doing something.
fn within_time<T: Send + 'static>(
    config: Config,
    tls: Option<Arc<ClientConfig>>,
    open: fn(Config, Option<ClientConfig>) -> Result<T, Error>,
) -> Result<T, String> {
    static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
    if UNDER_WAY.fetch_add(1, Ordering::Relaxed) >= STUCK_MAX {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        return Err(format!("{STUCK_MAX} earlier attempts are still not answered"));
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let attempt = move || {
        let opened = open(config, tls.map(Arc::unwrap_or_clone));
        let _ = sender.try_send(opened.map_err(|cause| super::said(&cause)));
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    };
    let thread = std::thread::Builder::new().name("connect".to_owned());
    if let Err(cause) = thread.spawn(attempt) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        return Err(cause.to_string());
    }
    let begun = clock::now();
    receiver.recv_timeout(CONNECT_MAX).unwrap_or_else(|_| {
        let waited = clock::now().duration_since(begun).as_secs();
        Err(format!("no answer within {waited} s"))
    })
}

/// What carries the bytes of a connection, until it is over.
type Carrier = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A connection, and the statements that are prepared on it. Its runtime runs on the thread that waits.
pub(super) struct Connection {
    runtime: Runtime,
    client: Client,
    carrier: Option<Carrier>,
    /// By their text.
    statements: HashMap<&'static str, Statement>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// Something to be said. What is said at once arrives in this order.
pub(super) enum ToDatabase<'a> {
    /// Statements without values, not prepared.
    Batch(&'a str),
    /// What was said before it is to be said at once.
    Nothing,
    Execute(Statement, Vec<&'a (dyn ToSql + Sync)>),
    Query(Statement, Vec<&'a (dyn ToSql + Sync)>),
}

/// What came of it: how many rows were changed, or the rows of a query.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) changed: u64,
    pub(super) rows: Vec<Row>,
}

impl ToDatabase<'_> {
    async fn say(self, client: &Client) -> Result<Answer, Error> {
        Ok(match self {
            Self::Batch(text) => client.batch_execute(text).await.map(|()| Answer::default())?,
            Self::Nothing => Answer::default(),
            Self::Execute(statement, values) => {
                let changed = client.execute(&statement, &values).await?;
                Answer { changed, ..Answer::default() }
            }
            Self::Query(statement, values) => {
                Answer { rows: client.query(&statement, &values).await?, ..Answer::default() }
            }
        })
    }
}

impl Connection {
    fn open(config: Config, tls: Option<ClientConfig>) -> Result<Self, Error> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the system has room for a thread's own epoll");
        let (client, carrier): (Client, Carrier) = runtime.block_on(async {
            Ok::<_, Error>(match tls {
                Some(tls) => {
                    let (client, carrier) = config.connect(MakeRustlsConnect::new(tls)).await?;
                    (client, Box::pin(carrier) as Carrier)
                }
                None => {
                    let (client, carrier) = config.connect(NoTls).await?;
                    (client, Box::pin(carrier) as Carrier)
                }
            })
        })?;
        Ok(Self { runtime, client, carrier: Some(carrier), statements: HashMap::new() })
    }

    fn begin(mut self) -> Result<Self, String> {
        self.say(vec![ToDatabase::Batch(SETTINGS)]).map_err(|cause| super::said(&cause))?;
        Ok(self)
    }

    /// A prepared statement.
    pub(super) fn prepared(&mut self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let Self { runtime, client, carrier, .. } = self;
        let statement = wait(runtime, carrier, client.prepare(sql))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Says all of these at once and waits for the answers: one trip to the database and back.
    ///
    /// # Errors
    /// The first of theirs.
    pub(super) fn say(&mut self, said: Vec<ToDatabase<'_>>) -> Result<Vec<Answer>, Error> {
        let Self { runtime, client, carrier, .. } = self;
        wait(runtime, carrier, async {
            let mut asked: Vec<_> = said.into_iter().map(|it| Box::pin(it.say(client))).collect();
            let mut answers: Vec<Option<Result<Answer, Error>>> =
                asked.iter().map(|_| None).collect();
            poll_fn(|cx| {
                for (asked, answer) in asked.iter_mut().zip(&mut answers) {
                    if answer.is_none()
                        && let Poll::Ready(it) = asked.as_mut().poll(cx)
                    {
                        *answer = Some(it);
                    }
                }
                if answers.iter().any(Option::is_none) { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            answers.into_iter().flatten().collect()
        })
    }

    /// Says something whose answer nobody needs, and doesn't wait for it.
    pub(super) fn cast(&mut self, text: &str) {
        let Self { runtime, client, carrier, .. } = self;
        let mut said = pin!(client.batch_execute(text));
        runtime.block_on(poll_fn(|cx| {
            let _ = said.as_mut().poll(cx);
            if carrier.as_mut().is_some_and(|it| it.as_mut().poll(cx).is_ready()) {
                *carrier = None;
            }
            Poll::Ready(())
        }));
    }
}

impl Drop for Connection {
    /// Tells the server that nobody is there any more, as far as it can be told at once.
    fn drop(&mut self) {
        let Self { runtime, client, carrier, .. } = self;
        client.__private_api_close();
        runtime.block_on(poll_fn(|cx| {
            let _ = carrier.as_mut().map(|it| it.as_mut().poll(cx));
            Poll::Ready(())
        }));
    }
}

/// Waits for something that is said over a connection.
fn wait<T>(
    runtime: &Runtime,
    carrier: &mut Option<Carrier>,
    done: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut done = pin!(done);
    runtime.block_on(poll_fn(|cx| {
        if let Some(Poll::Ready(over)) = carrier.as_mut().map(|it| it.as_mut().poll(cx)) {
            *carrier = None;
            // It says why better than whoever waits for it.
            if let Err(cause) = over {
                return Poll::Ready(Err(cause));
            }
        }
        done.as_mut().poll(cx)
    }))
}
