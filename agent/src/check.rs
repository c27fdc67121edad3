//! `canister-agent check`: tries everything that a run would need, and says of each whether it works
//! and what would. Changes nothing: no Hello is said, so a session of this peer that is open
//! elsewhere stays as it is, and the database is asked for a lease that nobody has.

use crate::cgroup::{self, CgroupLimits};
use crate::config::{AgentConfig, ArbiterAddress};
use crate::database::{DatabaseDoor, DatabaseThread};
use crate::dial::{Dialled, dial};
use canister_link::certificate::{Certificate, NAMES_THAT_WORK};
use canister_link::clock;
use canister_link::dial::proxy::Proxies;
use canister_link::dial::reaches_by_now;
use canister_link::durable;
use canister_link::identity::{Files, Identity};
use canister_link::refusal::date;
use canister_link::websocket::Told;
use canister_protocol::address::AddressFamilies;
use rustix::fs::Access;
use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// A clock that differs from an arbiter's by more seconds is wrong. Certificates begin an hour
/// before they are made, so this is told long before it hurts.
const SKEW_SECS_MAX: u64 = 300;

/// What was tried, in this order, and what came of it.
#[derive(Debug, Default)]
pub struct CheckReport {
    lines: Vec<(CheckCame, String)>,
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
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (came, what) in &self.lines {
            let word = match came {
                CheckCame::Good => "ok  ",
                CheckCame::Dispensable => "note",
                CheckCame::Bad => "FAIL",
            };
            writeln!(f, "{word}  {what}")?;
        }
        Ok(())
    }
}

/// Tries what a run with these settings would need. Takes as long as one handshake with each
/// arbiter, and with the database.
pub fn run(config: &AgentConfig) -> CheckReport {
    let mut report = CheckReport::default();
    let now = clock::wall_millis() / 1000;
    let files = config.files();
    key_is_private(&files, &mut report);
    let identity = match Identity::load(&files) {
        Ok(identity) => identity,
        Err(cause) => {
            report.bad(cause.to_string());
            limits(config, &cgroup::limits(), &mut report);
            report.bad("arbiters: not tried without certificate, key and authority");
            return report;
        }
    };
    let (certificate_path, key_path) = (&files.certificate, &files.key);
    report.good(format!("{} and {} are a pair", certificate_path.display(), key_path.display()));
    for path in [certificate_path, key_path] {
        can_be_renewed(path, &mut report);
    }
    certificate(config, identity.certificate(), now, &mut report);
    match identity.signed_by_authority(now) {
        Ok(()) => report.good(format!("signed by the authority in {}", files.authority.display())),
        Err(why) => report.bad(why),
    }
    limits(config, &cgroup::limits(), &mut report);
    let tls = match identity.client_config() {
        Ok(tls) => Arc::new(tls),
        Err(cause) => {
            report.bad(format!("set up TLS: {cause}"));
            return report;
        }
    };
    for told in Proxies::of_environment().told() {
        match told {
            Ok(through) => report.good(through),
            Err(why) => report.bad(why),
        }
    }
    let told: Vec<Told> =
        config.arbiter.iter().filter_map(|address| arbiter(address, &tls, &mut report)).collect();
    families(smol::block_on(reaches_by_now()), &mut report);
    if let Some(role) = &identity.certificate().name
        && !told.is_empty()
    {
        let mut named: Vec<_> = told.into_iter().filter_map(|told| told.database).collect();
        named.dedup();
        let doors = named.into_iter().map(|database| DatabaseDoor { role: role.clone(), database });
        rows(config, doors.collect(), &tls, &mut report);
    }
    report
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

fn key_is_private(files: &Files, report: &mut CheckReport) {
    // Whether it can be read at all is told when it is.
    let Ok(found) = files.key.metadata() else {
        return;
    };
    let (path, mode) = (files.key.display(), found.permissions().mode() & 0o777);
    if mode & 0o007 == 0 {
        report.good(format!("{path} is closed to others (mode {mode:03o})"));
    } else {
        report.bad(format!(
            "{path} is open to everyone on this machine (mode {mode:03o}); use `chmod 600`"
        ));
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
            "{} days left, until {}; renewed by the arbiter from {} on",
            life.days_left(now),
            date(life.ends),
            date(life.renewal())
        ));
    }
}

fn limits(config: &AgentConfig, found: &CgroupLimits, report: &mut CheckReport) {
    let (wanted, mib) = (config.memory.bytes(), 1024 * 1024);
    match found.memory_bytes {
        Some(bytes) if bytes < wanted => report.bad(format!(
            "the system allows {} MiB of memory, --memory {}: it would be killed; raise the \
             system's limit or lower --memory (to 32 at least)",
            bytes / mib,
            wanted / mib
        )),
        Some(bytes) => report.good(format!(
            "memory: {} MiB by --memory, {} MiB by the system",
            wanted / mib,
            bytes / mib
        )),
        None => {
            report.good(format!("memory: {} MiB by --memory, no limit by the system", wanted / mib))
        }
    }
    let mut text = format!("CPU: {} threads by --cpu", config.cpu);
    let _ = match found.cpu_threads {
        Some(threads) => write!(text, ", {threads} by the system"),
        None => write!(text, ", no limit by the system"),
    };
    report.good(text);
}

/// What it told, if it takes us.
fn arbiter(
    address: &ArbiterAddress,
    tls: &Arc<rustls::ClientConfig>,
    report: &mut CheckReport,
) -> Option<Told> {
    let executor = smol::LocalExecutor::new();
    let tried = smol::block_on(executor.run(async {
        let Dialled { link, passed_over } = dial(&executor, address, tls, &None).await?;
        let told = link.told().clone();
        link.close(1000, "only a check").await;
        Ok::<_, String>((told, passed_over))
    }));
    match tried {
        Err(cause) => {
            report.bad(format!("{address}: {cause}"));
            None
        }
        Ok((told, passed_over)) => {
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
            if let Some(theirs) = told.clock {
                skew(address, clock::wall_millis() / 1000, theirs, report);
            }
            Some(told)
        }
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
    report.bad(format!(
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
        assert_eq!(count, 1, "{text}");
        assert!(text.contains("is this machine's clock right?"), "{text}");
        assert_eq!(said(|report| skew(&address, 10 * DAY, 10 * DAY + 9, report)).0, 0);
    }
}
