//! `canister-agent check`: tries everything that a run would need, and says of each whether it works
//! and what would. Changes nothing: no Hello is said, so a session of this peer that is open
//! elsewhere stays as it is, and the database is asked for a lease that nobody has.

use crate::PROGRAM;
use crate::agent::too_old;
use crate::cgroup::{self, CgroupLimits};
use crate::config::{AgentConfig, ArbiterAddress, TrialAddress};
use crate::database::{DatabaseDoor, DatabaseThread};
use crate::dial::{Dialled, dial};
use crate::join::Applying;
use crate::lint::findings::counted;
use crate::memory::Mebibytes;
use crate::throttle::Share;
use canister_link::certificate::{self, Certificate, NAMES_THAT_WORK};
use canister_link::dial::proxy::Proxies;
use canister_link::dial::{DialStep, NotOpened, look_up, reaches, reaches_by_now, web};
use canister_link::identity::{Files, Identity};
use canister_link::refusal::{date, of_source};
use canister_link::websocket::Told;
use canister_link::{clock, durable, request};
use canister_protocol::Uri;
use canister_protocol::address::AddressFamilies;
use nanoserde::SerJson;
use rustix::fs::Access;
use std::fmt::{self, Write as _};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long one file of a trial, or one look-up, may take, and how much of it is read.
const TRIAL_MAX: Duration = Duration::from_secs(20);
const TRIAL_BYTES: u64 = 1024;
/// A clock that differs from an arbiter's by more seconds is wrong.
const SKEW_SECS_MAX: u64 = 300;

/// The folder of the peer that the package's service runs, and the service.
const SERVICE_DIR: &str = "/var/lib/canister-agent";
const SERVICE: &str = "/usr/lib/systemd/system/canister-agent.service";

/// What was tried, in this order, and what came of it.
#[derive(Debug, Default)]
pub struct CheckReport {
    lines: Vec<(CheckCame, String)>,
    /// What is to be typed where all is well.
    next: Option<String>,
}

/// What came of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckCame {
    Good,
    /// It doesn't, and a run does without.
    Dispensable,
    /// It doesn't, and a run needs it.
    Bad,
}

impl CheckReport {
    fn good(&mut self, what: impl Into<String>) {
        self.lines.push((CheckCame::Good, what.into()));
    }

    fn dispensable(&mut self, what: impl Into<String>) {
        self.lines.push((CheckCame::Dispensable, what.into()));
    }

    fn bad(&mut self, what: impl Into<String>) {
        self.lines.push((CheckCame::Bad, what.into()));
    }

    /// How many of how many things don't work that a run needs.
    pub fn failed(&self) -> (usize, usize) {
        let is_bad = |(came, _): &&(CheckCame, String)| *came == CheckCame::Bad;
        (self.lines.iter().filter(is_bad).count(), self.lines.len())
    }

    /// All of it for programs: one JSON object.
    pub fn json(&self) -> String {
        let checked = |(came, text): &(CheckCame, String)| CheckedTold {
            came: came.word().to_owned(),
            text: text.clone(),
        };
        let checks = self.lines.iter().map(checked).collect();
        CheckTold { checks, next: self.next.clone() }.serialize_json() + "\n"
    }
}

/// The same for programs.
#[derive(SerJson)]
struct CheckTold {
    checks: Vec<CheckedTold>,
    next: Option<String>,
}

#[derive(SerJson)]
struct CheckedTold {
    /// `ok`, `note` or `FAIL`.
    came: String,
    text: String,
}

impl CheckCame {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Dispensable => "note",
            Self::Bad => "FAIL",
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (came, what) in &self.lines {
            writeln!(f, "{:<4}  {what}", came.word())?;
        }
        if let Some(next) = &self.next {
            writeln!(f, "all is well; {next}")?;
        }
        Ok(())
    }
}

/// Tries what a run with these settings would need. Takes as long as one handshake with each
/// arbiter, and with the database, and one small file over http and https. Of what follows from one
/// cause, the cause alone is told. `notes` come first.
pub fn run(config: &AgentConfig, notes: &[String]) -> CheckReport {
    let mut report = CheckReport::default();
    for note in notes {
        report.dispensable(note);
    }
    if try_all(config, &mut report).is_some() && report.failed().0 == 0 {
        report.next = Some(next_step(config));
    }
    report
}

/// `None` where it can't be gone on.
fn try_all(config: &AgentConfig, report: &mut CheckReport) -> Option<()> {
    let now = clock::wall_millis() / 1000;
    let files = config.files();
    let identity = match Identity::load(&files) {
        Ok(identity) => identity,
        Err(cause) => {
            report.bad(no_peer_yet(config, &files).unwrap_or_else(|| cause.to_string()));
            return None;
        }
    };
    let (certificate_path, key_path) = (&files.certificate, &files.key);
    report.good(format!("{} and {} are a pair", certificate_path.display(), key_path.display()));
    for path in [certificate_path, key_path] {
        can_be_renewed(path, report);
    }
    certificate(config, identity.certificate(), now, report);
    if report.failed().0 > 0 {
        return None;
    }
    match identity.signed_by_authority(now) {
        Ok(()) => report.good(format!("signed by the authority in {}", files.authority.display())),
        Err(why) => {
            report.bad(why);
            return None;
        }
    }
    limits(config, &cgroup::limits(), report);
    let tls = match identity.client_config() {
        Ok(tls) => Arc::new(tls),
        Err(cause) => {
            report.bad(format!("set up TLS: {cause}"));
            return None;
        }
    };
    for told in Proxies::of_environment().told() {
        match told {
            Ok(through) => report.good(through),
            Err(why) => {
                report.bad(why);
                return None;
            }
        }
    }
    let told = arbiters(config, &tls, report)?;
    families(smol::block_on(reaches_by_now()), report);
    for address in &config.trial {
        trial(config, address, report);
    }
    if let Some(role) = &identity.certificate().role {
        let mut named: Vec<_> = told.into_iter().filter_map(|told| told.database).collect();
        named.dedup();
        let doors = named.into_iter().map(|database| DatabaseDoor { role: role.clone(), database });
        rows(config, doors.collect(), &tls, report);
    }
    Some(())
}

/// What is missing of somebody who is no peer yet.
fn no_peer_yet(config: &AgentConfig, files: &Files) -> Option<String> {
    let (dir, path) = (config.dir.display(), files.certificate.display());
    let name = files.certificate.file_name()?;
    let is_at_home = files.certificate.parent() == Some(&config.dir);
    if files.certificate.symlink_metadata().is_ok() || !is_at_home || name != "peer.crt" {
        return None;
    }
    if !config.dir.is_dir() {
        return Some(format!(
            "there is no folder {dir}; `canister-agent join NAME` makes it, --dir names another"
        ));
    }
    if let Some(applying) = Applying::found(config) {
        return Some(format!(
            "not admitted yet by {}; wait, and read these words out when you are asked for them: {}",
            applying.address(),
            applying.words()
        ));
    }
    if canister_link::identity::alike(&files.certificate).is_some() {
        return None;
    }
    let request = config.dir.join(request::REQUEST);
    Some(if request.exists() {
        format!(
            "{path} isn't there: it comes back for {}; send that to {}, or `canister-agent join \
             NAME`",
            request.display(),
            certificate::OPERATOR
        )
    } else {
        format!("{path} isn't there: this is no peer yet; `canister-agent join NAME` makes it one")
    })
}

/// What the arbiters told that take us; nothing where none does.
fn arbiters(
    config: &AgentConfig,
    tls: &Arc<rustls::ClientConfig>,
    report: &mut CheckReport,
) -> Option<Vec<Told>> {
    let tried: Vec<_> =
        config.arbiter.iter().map(|address| (address, arbiter(address, tls))).collect();
    let is_any = tried.iter().any(|(_, came)| came.is_ok());
    let mut told = Vec::new();
    let mut failed = Vec::new();
    for (address, came) in tried {
        match came {
            Ok((its, passed_over)) => {
                took(address, &its, passed_over, report);
                told.push(its);
            }
            // A run goes on to the next.
            Err(cause) if is_any => report.dispensable(format!("{address}: {cause}")),
            Err(cause) => failed.push((address, cause)),
        }
    }
    let Some((address, cause)) = failed.first() else {
        return Some(told);
    };
    let host = address.host();
    let is_same = |(other, why): &(&ArbiterAddress, NotOpened)| {
        why.to_string().replace(other.host(), host) == cause.to_string()
    };
    if config.arbiter.len() > 1 && failed.iter().all(is_same) {
        report.bad(format!("no arbiter is reached: {cause}{}", advice(config, address, cause)));
    } else {
        for (address, cause) in &failed {
            report.bad(format!("{address}: {cause}{}", advice(config, address, cause)));
        }
    }
    None
}

/// What to do where a way failed by this.
fn advice(config: &AgentConfig, address: &ArbiterAddress, cause: &NotOpened) -> String {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut,
    };
    let (host, port) = (address.host(), address.port());
    match (cause.step, cause.kind) {
        (DialStep::LookUp, _) => {
            let others = config.trial.iter().filter_map(TrialAddress::uri);
            let is_found = |uri: &Uri| {
                let name = format!("{}:{}", uri.host(), uri.port());
                smol::block_on(look_up(&name, TRIAL_MAX)).is_ok()
            };
            if others.into_iter().any(is_found) {
                format!("; other names are found: --arbiter names another than {host}")
            } else {
                "; no name can be looked up: is this machine connected, and is the name server in \
                 /etc/resolv.conf right?"
                    .to_owned()
            }
        }
        (DialStep::Connect, AddrNotAvailable | HostUnreachable | NetworkUnreachable) => {
            match reaches() {
                AddressFamilies { v4: false, v6: false } => {
                    "; nothing leads out of this machine: is it connected?".to_owned()
                }
                AddressFamilies { v4: true, v6: true } => {
                    "; this machine has no way there".to_owned()
                }
                AddressFamilies { v4, .. } => {
                    let missing = if v4 { "IPv6" } else { "IPv4" };
                    format!("; this machine has no {missing}, and {host} nothing else")
                }
            }
        }
        (DialStep::Connect, TimedOut) => format!(
            "; a firewall lets no connection out to port {port}? It has to let TCP to {host}:{port} \
             out, and nothing in"
        ),
        (DialStep::Connect, ConnectionRefused) => format!(
            "; a firewall refuses port {port}, or --arbiter names a host or port where no arbiter is"
        ),
        (DialStep::Proxy, _) => {
            "; ask whoever runs the proxy, or name the arbiter in NO_PROXY".to_owned()
        }
        _ => String::new(),
    }
}

/// Whether a source would be reached: something whose content is known is fetched.
fn trial(config: &AgentConfig, address: &TrialAddress, report: &mut CheckReport) {
    let Some(uri) = address.uri() else { return };
    let client = web::client(&config.user_agent, TRIAL_MAX, Some(Proxies::of_environment()));
    let kind = if uri.is_https() { "https" } else { "http" };
    let fetched = client.get(uri.to_string()).call().map_err(|cause| match cause {
        ureq::Error::Timeout(_) => format!("no answer within {} s", TRIAL_MAX.as_secs()),
        ureq::Error::Io(cause) => of_source(&cause),
        cause => cause.to_string(),
    });
    let fetched = fetched.and_then(|answer| {
        let status = answer.status().as_u16();
        let mut head = Vec::new();
        let read = answer.into_body().into_reader().take(TRIAL_BYTES).read_to_end(&mut head);
        read.map_err(|cause| cause.to_string())?;
        let text = String::from_utf8_lossy(&head);
        let is_page = text.trim_start().starts_with('<');
        match status {
            200 if is_page => {
                Err("a page for people came instead: a hotspot that wants a login?".to_owned())
            }
            200 => Ok(()),
            status => Err(format!("status {status}")),
        }
    });
    match fetched {
        Ok(()) => report.good(format!("sources are reached by {kind}: {} is", uri.host())),
        Err(why) => report.bad(format!(
            "sources aren't reached by {kind}: {uri}: {why}; a firewall or proxy on the way has to \
             let port {} out, --trial names another file to try",
            uri.port()
        )),
    }
}

/// What is typed once all is well, where these files are a service's or not.
pub fn next_step(config: &AgentConfig) -> String {
    let dir = config.dir.display();
    match (is_services(config), config.dir == Path::new(SERVICE_DIR)) {
        (true, _) => "next: sudo systemctl restart canister-agent".to_owned(),
        (false, true) => "next: canister-agent run".to_owned(),
        (false, false) => format!("next: canister-agent run --dir {dir}"),
    }
}

/// What is typed so that it runs no more.
pub fn stop_step(config: &AgentConfig) -> String {
    match is_services(config) {
        true => "next: sudo systemctl disable --now canister-agent",
        false => "next: stop `canister-agent run`, wherever it is started",
    }
    .to_owned()
}

fn is_services(config: &AgentConfig) -> bool {
    config.dir == Path::new(SERVICE_DIR) && Path::new(SERVICE).exists()
}

/// A renewal replaces the file; its folder must be ours to write to.
fn can_be_renewed(path: &Path, report: &mut CheckReport) {
    let folder = durable::folder(path);
    let may = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK);
    match may {
        Ok(()) => report.good(format!("{} can be renewed in its place", path.display())),
        Err(cause) => report.bad(format!(
            "{} can't be renewed in its place: write to {}: {}; use a folder of the peer's \
             own user",
            path.display(),
            folder.display(),
            io::Error::from(cause)
        )),
    }
}

fn certificate(config: &AgentConfig, own: &Certificate, now: u64, report: &mut CheckReport) {
    let path = config.certificate.display();
    match &own.name {
        Some(name) => report.good(format!("the peer's name is {name}")),
        None => {
            report.bad(format!("{path} has no common name that a peer can have: {NAMES_THAT_WORK}"))
        }
    }
    let life = own.life;
    if now < life.begins {
        report.bad(format!(
            "{path} is not yet valid: it begins on {} and this machine's clock says {}: is this \
             machine's clock right?",
            date(life.begins),
            date(now)
        ));
    } else if now > life.ends {
        report.bad(format!(
            "{path} ended on {}; ask for a new one, if this machine's clock is right: it says {}",
            date(life.ends),
            date(now)
        ));
    } else {
        report.good(format!(
            "{} left, until {}; renewed from {} on, by an arbiter that can",
            counted(life.days_left(now), "day"),
            date(life.ends),
            date(life.renewal())
        ));
    }
}

fn limits(config: &AgentConfig, found: &CgroupLimits, report: &mut CheckReport) {
    let (wanted, mib) = (config.memory.bytes(), 1024 * 1024);
    let by = |is_promised, option| if is_promised { "default" } else { option };
    let by_memory = by(config.memory == Mebibytes::PROMISED, "--memory");
    let memory = wanted / mib;
    match found.memory_bytes {
        Some(bytes) if bytes < wanted => report.bad(format!(
            "the system allows {} MiB of memory, --memory {memory}: it would be killed; raise the \
             system's limit or lower --memory (to 32 at least)",
            bytes / mib
        )),
        Some(bytes) => report.good(format!(
            "memory: {memory} MiB by {by_memory}, {} MiB by the system",
            bytes / mib
        )),
        None => report.good(format!("memory: {memory} MiB by {by_memory}, no limit by the system")),
    }
    let by_cpu = by(config.cpu == Share::PROMISED, "--cpu");
    let mut text = format!("CPU: {} threads by {by_cpu}", config.cpu);
    let _ = match found.cpu_threads {
        Some(threads) => write!(text, ", {threads} by the system"),
        None => write!(text, ", no limit by the system"),
    };
    report.good(text);
}

/// What it told, if it takes us, and which of its addresses don't answer.
fn arbiter(
    address: &ArbiterAddress,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<(Told, Option<String>), NotOpened> {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let Dialled { link, passed_over } = dial(&executor, address, tls, &None).await?;
        let told = link.told().clone();
        link.close(1000, "only a check").await;
        Ok((told, passed_over))
    }))
}

/// Tells of an arbiter that takes us.
fn took(
    address: &ArbiterAddress,
    told: &Told,
    passed_over: Option<String>,
    report: &mut CheckReport,
) {
    report.good(format!("{address} takes us"));
    if let Some(why) = passed_over {
        report.dispensable(format!(
            "some addresses of {} don't answer, and others do: {why}",
            address.host()
        ));
    }
    if let Some(why) = &told.record {
        report.dispensable(format!("{} gives this peer less: {why}", address.host()));
    }
    if let Some(floor) = told.floor.as_ref().filter(|floor| floor.is_above(PROGRAM)) {
        let why = format!("{}: {}", address.host(), too_old(floor));
        match floor.from <= clock::wall_millis() / 1000 {
            true => report.bad(why),
            false => report.dispensable(why),
        }
    }
    if let Some(theirs) = told.clock {
        skew(address, clock::wall_millis() / 1000, theirs, report);
    }
}

/// Which sources can be reached, as far as that is a matter of addresses.
fn families(reaches: AddressFamilies, report: &mut CheckReport) {
    match reaches {
        AddressFamilies { v4: true, v6: true } => report.good("IPv4 and IPv6 lead out of here"),
        AddressFamilies { v4: false, v6: false } => report.dispensable(
            "neither IPv4 nor IPv6 leads out of here: only sources at private addresses can be \
             reached",
        ),
        AddressFamilies { v4, .. } => report.good(format!(
            "{reaches} leads out of here, {} doesn't: sources that have nothing else go to other \
             peers",
            if v4 { "IPv6" } else { "IPv4" }
        )),
    }
}

/// Where rows would go.
fn rows(
    config: &AgentConfig,
    doors: Vec<DatabaseDoor>,
    tls: &Arc<rustls::ClientConfig>,
    report: &mut CheckReport,
) {
    if doors.is_empty() {
        report.good("rows go over the session: no arbiter names a database");
    }
    for door in doors {
        let name = door.database.to_string();
        let database = DatabaseThread::new(
            Arc::clone(tls),
            config.is_database_private(),
            0,
            config.fetch().never,
            None,
        );
        database.named(Some(door));
        match database.trial() {
            Ok(()) => report.good(format!("rows go directly into the database, {name}")),
            Err(why) => {
                let past = if Proxies::of_environment().is_any_secure() {
                    "; a database is not reached through a proxy"
                } else {
                    ""
                };
                report.dispensable(format!(
                    "rows go over the session, which works as well: {why}{past}"
                ));
            }
        }
    }
}

fn skew(address: &ArbiterAddress, ours: u64, theirs: u64, report: &mut CheckReport) {
    let skew = ours.abs_diff(theirs);
    if skew <= SKEW_SECS_MAX {
        return report.good(format!("this machine's clock is right, to {skew} s"));
    }
    // Certificates begin an hour before they are made.
    report.dispensable(format!(
        "this machine's clock says {}, that of {} says {}: is this machine's clock right?",
        date(ours),
        address.host(),
        date(theirs)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use canister_link::certificate::Life;
    use canister_link::settings::{Given, Reader};

    const DAY: u64 = 24 * 60 * 60;

    fn settings() -> AgentConfig {
        let given = Given::default();
        AgentConfig::read_all(&mut Reader::new(AgentConfig::TABLE, &given)).unwrap()
    }

    fn said(tell: impl FnOnce(&mut CheckReport)) -> (usize, String) {
        let mut report = CheckReport::default();
        tell(&mut report);
        (report.failed().0, report.to_string())
    }

    #[test]
    fn a_certificates_days_are_told() {
        let mut own = Certificate {
            name: Some("peer-1".to_owned()),
            announcer: None,
            role: None,
            serial: vec![1],
            issuer: vec![],
            life: Life { begins: 100 * DAY, ends: 130 * DAY },
            key: vec![],
        };
        for (now, failed, part) in [
            (99 * DAY, 1, "is this machine's clock right?"),
            (101 * DAY, 0, "29 days left"),
            (131 * DAY, 1, "ended on"),
        ] {
            let (count, text) = said(|report| certificate(&settings(), &own, now, report));
            assert_eq!(count, failed, "{text}");
            assert!(text.contains(part), "{text}");
        }
        own.name = None;
        let (count, text) = said(|report| certificate(&settings(), &own, 101 * DAY, report));
        assert_eq!(count, 1, "{text}");
        assert!(text.contains("FAIL") && text.contains("common name"), "{text}");
    }

    #[test]
    fn what_leads_out_is_told() {
        for (v4, v6, part) in [
            (true, true, "ok    IPv4 and IPv6 lead out of here"),
            (true, false, "ok    IPv4 leads out of here, IPv6 doesn't"),
            (false, true, "ok    IPv6 leads out of here, IPv4 doesn't"),
            (false, false, "note  neither IPv4 nor IPv6"),
        ] {
            let (failed, text) = said(|report| families(AddressFamilies { v4, v6 }, report));
            assert!(failed == 0 && text.starts_with(part), "{text}");
        }
    }

    #[test]
    fn limits_that_would_kill_it_are_told() {
        let with = |memory_bytes, cpu_threads| {
            let found = CgroupLimits { memory_bytes, cpu_threads };
            said(|report| limits(&settings(), &found, report))
        };
        let (count, text) = with(Some(64 << 20), Some(0.25));
        assert_eq!(count, 1, "{text}");
        assert!(text.contains("64 MiB") && text.contains("0.25 by the system"), "{text}");
        assert_eq!(with(Some(256 << 20), None).0, 0);
        assert_eq!(with(None, None).0, 0);
    }

    #[test]
    fn a_clock_that_is_off_is_told() {
        let address: ArbiterAddress = config::ARBITERS[0].parse().unwrap();
        let (count, text) = said(|report| skew(&address, 10 * DAY, 11 * DAY, report));
        assert_eq!(count, 0, "{text}");
        assert!(text.starts_with("note") && text.contains("clock right?"), "{text}");
        assert_eq!(said(|report| skew(&address, 10 * DAY, 10 * DAY + 9, report)).0, 0);
    }
}
