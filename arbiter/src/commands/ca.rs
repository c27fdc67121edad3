//! `canister-arbiter ca`: its command lines, and what each command does.

use super::ask::{Arbiter, believe, show as shown};
use argh::{ArgsInfo, FromArgs};
use canister_arbiter::config::SOCKET_NAME;
use canister_arbiter::doors::admin::{ApplicantReport, Request};
use canister_arbiter::report::{self, Table};
use canister_arbiter::rules::text::plural;
use canister_arbiter::store::Postgres;
use canister_arbiter::store::postgres::Address;
use canister_authority::authority::{CertificateTerms, Signed};
use canister_authority::folder::{self, Folder};
use canister_authority::passphrase;
use canister_authority::reason::Reason;
use canister_authority::register::{CertificateKind, Register, Revoked};
use canister_authority::request::SigningRequest;
use canister_authority::{self as ca, Authority, CaError};
use canister_link::certificate::{is_name, spoken};
use canister_link::clock;
use canister_link::identity::Files;
use canister_link::settings;
use canister_link::settings::{Given, PASSPHRASE, Reader, Setting, named};
use canister_link::usage::{self, Failure, Said};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most applicants that are shown unless all are asked for.
const PENDING_SHOWN: usize = 50;
/// Longest passphrase in bytes.
const PASSPHRASE_BYTES_MAX: u64 = 1024;
/// Longest reason that is written down, in bytes.
const WHY_BYTES_MAX: usize = 1024;

/// The certificate authority: who is a peer, who is an arbiter, and who no longer.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "ca")]
pub(crate) struct Ca {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Admit(Admit),
    Crl(Crl),
    Init(Init),
    Issuer(IssuerCommand),
    List(List),
    Pending(Pending),
    Refuse(Refuse),
    Revoke(Revoke),
    Server(Server),
    Show(Show),
    Sign(Sign),
}

/// Admit an applicant of `pending` as a peer: sign its request, as `sign` does. The running arbiter hands
/// the certificate out. Let its owner read you the words first: anybody can ask for any name.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "admit")]
struct Admit {
    /// the words that `pending` shows, or the first of them, where several ask for the name
    #[argh(option, default = "String::new()")]
    words: String,
    /// how long it is good, in whole days (default: 365d)
    #[argh(option, default = "ca::DAYS", from_str_fn(life), long = "life")]
    days: u32,
    /// admit although the name is in use: its owner has a new key, and its history goes on
    #[argh(switch)]
    again: bool,
    /// believe the peer at once: it needn't prove itself
    #[argh(switch)]
    trusted: bool,
    /// the applicant's name
    #[argh(positional)]
    name: String,
}

/// List who waits to become a peer, by `canister-agent join`: who asked last first.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "pending")]
struct Pending {
    /// list all, not only the first 50
    #[argh(switch)]
    all: bool,
}

/// Refuse an applicant of `pending`; it is told so when it asks again.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "refuse")]
struct Refuse {
    /// the words that `pending` shows, or the first of them, where several ask for the name
    #[argh(option, default = "String::new()")]
    words: String,
    /// why, for the applicant (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// the applicant's name
    #[argh(positional)]
    name: String,
}

/// Make a new authority: ca.crt for everyone, root/root.key to take away, issuer/ for daily use. With
/// a passphrase the keys are encrypted.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "init")]
struct Init {
    /// ask for a passphrase
    #[argh(switch)]
    passphrase: bool,
}

/// Renew the issuing certificate, for the same key. Needs root/root.key; what was issued stays
/// good.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "issuer")]
struct IssuerCommand {}

/// Make a server's key and certificate, for an arbiter or a database server.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "server")]
struct Server {
    /// folder to write to (default: the authority's)
    #[argh(option)]
    out: Option<PathBuf>,
    /// name of the files, without .key and .crt (default: arbiter)
    #[argh(option, long = "as", default = "\"arbiter\".to_owned()")]
    files: String,
    /// how long it is good, in whole days (default: 365d)
    #[argh(option, default = "ca::DAYS", from_str_fn(life), long = "life")]
    days: u32,
    /// host names and addresses under which it is reached
    #[argh(positional)]
    names: Vec<String>,
}

/// Show a signing request: its name, its key, the fingerprint to compare, and what will be ignored.
/// Changes nothing.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show")]
struct Show {
    /// the signing request in PEM
    #[argh(positional)]
    request: PathBuf,
}

/// Sign a peer's or an announcer's request and print the certificate. Only the key is taken from the
/// request, and the name if it is valid; a request that was signed already gets the same certificate.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "sign")]
struct Sign {
    /// for an announcer: it signs announcements and opens no door
    #[argh(switch)]
    announcer: bool,
    /// the peer's or announcer's name, instead of the request's common name
    #[argh(option)]
    name: Option<String>,
    /// how long it is good, in whole days (default: 365d)
    #[argh(option, default = "ca::DAYS", from_str_fn(life), long = "life")]
    days: u32,
    /// sign although the name is in use: its owner has a new key
    #[argh(switch)]
    again: bool,
    /// believe the peer at once: it needn't prove itself. The running arbiter is told so
    #[argh(switch)]
    trusted: bool,
    /// new file to write instead of standard output
    #[argh(option)]
    out: Option<PathBuf>,
    /// the signing request in PEM
    #[argh(positional)]
    request: PathBuf,
}

/// List the certificates that were issued. Needs no key.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list")]
struct List {
    /// also list expired ones
    #[argh(switch)]
    all: bool,
}

/// Revoke all certificates of a name, renewals included, and sign a new revocation list. An arbiter
/// that has the list closes the peer's session within a second.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "revoke")]
struct Revoke {
    /// why, for the register; a word of --reason sets that, too
    #[argh(option)]
    why: String,
    /// why, for the list: key-compromise, privilege-withdrawn, superseded, affiliation-changed,
    /// cessation-of-operation or unspecified (default: unspecified)
    #[argh(option)]
    reason: Option<Reason>,
    /// it is an announcer's name, not a peer's
    #[argh(switch)]
    announcer: bool,
    /// it is a server's name, not a peer's
    #[argh(switch)]
    server: bool,
    /// the peer's or announcer's name, or the first name of a server
    #[argh(positional)]
    name: String,
}

/// Sign a new revocation list, crl.pem. Do it once a month: a list expires after 90 days, and
/// PostgreSQL then rejects everybody.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "crl")]
struct Crl {}

settings! {
    /// What several of these commands take; none is a variable.
    pub(crate) struct Shared {
        /// the authority's folder
        dir: PathBuf = "/etc/canister-arbiter";
        /// folder of the running arbiter's socket
        state: PathBuf = "/var/lib/canister-arbiter";
        /// file with the passphrase in its first line. Without it the variable CANISTER_CA_PASSPHRASE;
        /// else `init` sets none, and the others ask if there is one
        passphrase_file: Option<PathBuf>;
        /// database of the peer's role, by which it may write there itself: `sign` makes the role,
        /// `revoke` drops it with its sessions and leases; postgres://USER@HOST[:PORT][,HOST...]/NAME or
        /// 'host=... dbname=...'
        database: Option<Address>;
        /// certificate in PEM to show to the database's server
        database_certificate: PathBuf = "/etc/canister-arbiter/arbiter.crt";
        /// its private key in PEM
        database_key: PathBuf = "/etc/canister-arbiter/arbiter.key";
    }
}

impl Shared {
    fn arbiter(&self) -> Arbiter {
        Arbiter { socket: self.state.join(SOCKET_NAME), is_json: false }
    }
}

/// What a command comes to: in text, and for programs.
type TwiceSaid = Result<(String, Value), Failure>;

/// Which of them a command takes.
pub(super) fn settings(words: &[&str]) -> Vec<&'static Setting> {
    match words {
        ["crl" | "init" | "issuer" | "server"] => named(Shared::TABLE, &["dir", "passphrase_file"]),
        ["list"] => named(Shared::TABLE, &["dir"]),
        ["pending" | "refuse"] => named(Shared::TABLE, &["dir", "state"]),
        ["revoke"] => Shared::TABLE.iter().filter(|it| it.name != "state").collect(),
        ["admit" | "sign"] => Shared::TABLE.iter().collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn run(ca: Ca, given: Given) -> Said {
    let given = Given { environment: Vec::new(), ..given };
    let shared = &Shared::read(&mut Reader::new(Shared::TABLE, &given)).map_err(Failure::Usage)?;
    let (text, json) = match ca.command {
        Command::Admit(command) => admit(&command, shared),
        Command::Crl(Crl {}) => crl(shared),
        Command::Init(command) => init(&command, shared),
        Command::Issuer(IssuerCommand {}) => issuer(shared),
        Command::List(command) => list(&command, shared),
        Command::Pending(command) => pending(&command, shared),
        Command::Refuse(command) => refuse(&command, shared),
        Command::Revoke(command) => revoke(&command, shared),
        Command::Server(command) => server(&command, shared),
        Command::Show(command) => show(&command),
        Command::Sign(command) => sign(&command, shared),
    }?;
    shown(given.is_json, &json, |_| text.clone())
}

fn init(init: &Init, shared: &Shared) -> TwiceSaid {
    let passphrase = match given(shared.passphrase_file.as_deref())? {
        Some(passphrase) => Some(passphrase),
        None if init.passphrase => Some(asked_twice()?),
        None => None,
    };
    Authority::init_with(&shared.dir, passphrase.as_deref()).map_err(Failure::of)?;
    let folder = Folder::new(&shared.dir);
    let text = format!(
        "{}  for everyone\n{}  for arbiters and database servers\n{}  take this folder away, to \
         where nobody but you gets at it\n{}  for daily use, by nobody but you\n",
        folder.certificates().display(),
        folder.revocations().display(),
        shared.dir.join("root").display(),
        shared.dir.join("issuer").display(),
    );
    let json = json!({
        "authority": folder.certificates(), "revocations": folder.revocations(),
        "root": shared.dir.join("root"), "issuer": shared.dir.join("issuer"),
    });
    Ok((text, json))
}

fn issuer(shared: &Shared) -> TwiceSaid {
    let ask = |path: &Path| ask(path, shared.passphrase_file.as_deref());
    let now = now();
    let life = Authority::renew_issuer(&shared.dir, &ask).map_err(Failure::of)?;
    let (certificate, days) = (Folder::new(&shared.dir).issuer_certificate(), life.days_left(now));
    let text = format!(
        "{}: {}; give it to arbiters and database servers with their next certificates\n",
        certificate.display(),
        plural(days, "day", "days"),
    );
    Ok((text, json!({ "certificate": certificate, "days": days })))
}

fn server(server: &Server, shared: &Shared) -> TwiceSaid {
    if server.names.is_empty() {
        let why = "no host name or address given under which the server is reached";
        return Err(Failure::Usage(why.to_owned()));
    }
    if !is_name(&server.files) {
        let why = format!("--as {:?}: use a name like arbiter or database", server.files);
        return Err(Failure::Usage(why));
    }
    let authority = open(&shared.dir, shared.passphrase_file.as_deref())?;
    let out = server.out.as_ref().unwrap_or(&shared.dir);
    let pair = authority.new_server(&server.names, server.days).map_err(Failure::of)?;
    pair.write(out, &server.files).map_err(Failure::of)?;
    let file = |end: &str| out.join(format!("{}.{end}", server.files));
    let json = json!({ "certificate": file("crt"), "key": file("key"), "names": server.names });
    Ok((format!("{}\n", file("crt").display()), json))
}

fn show(show: &Show) -> TwiceSaid {
    let request = SigningRequest::read(&show.request).map_err(Failure::of)?;
    let name = match &request.name {
        Some(name) if is_name(name) => name.clone(),
        Some(name) => {
            let name: String = name.chars().take(80).collect();
            format!("{name:?}, which can't be a peer's; `ca sign --name` gives another")
        }
        None => "none; `ca sign --name` gives one".to_owned(),
    };
    let ignored = if request.ignored.is_empty() {
        "nothing else".to_owned()
    } else {
        format!("{}; all of it is ignored", request.ignored.join(", "))
    };
    let words = spoken(&request.fingerprint);
    let json = json!({
        "name": request.name, "key": request.kind, "fingerprint": request.fingerprint, "words": words,
        "ignored": request.ignored,
    });
    let text = format!(
        "name         {name}\nkey          {}\nfingerprint  {}\nwords        {}\nsignature    by this key\nasks for     \
         {ignored}\n",
        request.kind, request.fingerprint, words
    );
    Ok((text, json))
}

/// Who waits, of the running arbiter.
fn applicants(shared: &Shared) -> Result<Vec<ApplicantReport>, Failure> {
    shared.arbiter().ask(&Request::Applicants)
}

fn pending(pending: &Pending, shared: &Shared) -> TwiceSaid {
    let waiting = applicants(shared)?;
    let json = waiting.iter().map(|it| {
        json!({
            "name": it.name, "words": spoken(&it.key), "key": it.key, "contact": it.contact,
            "network": it.network, "applied_at": it.applied_at, "asked_at": it.asked_at,
        })
    });
    let json = json.collect();
    if waiting.is_empty() {
        return Ok(("nobody waits; `canister-agent join NAME` asks\n".to_owned(), json));
    }
    // Where this isn't the authority's machine, nothing is said of names.
    let (register, now) = (Register::open(&shared.dir).ok(), clock::wall_millis());
    let mut table =
        Table::new(["name", "words to be read out", "contact", "from", "asked", "of the name"]);
    let shown = if pending.all { waiting.len() } else { PENDING_SHOWN };
    for applicant in waiting.iter().take(shown) {
        let mut notes = Vec::new();
        let good = |it: &Register| {
            it.good(CertificateKind::Peer, &applicant.name, now / 1000).next().is_some()
        };
        if register.as_ref().is_some_and(good) {
            notes.push("in use: --again");
        }
        if waiting.iter().filter(|it| it.name == applicant.name).count() > 1 {
            notes.push("several ask: --words");
        }
        table.row([
            applicant.name.clone(),
            spoken(&applicant.key),
            applicant.contact.clone(),
            applicant.network.clone(),
            report::ago(applicant.asked_at, now),
            notes.join("; "),
        ]);
    }
    let mut text = table.text();
    if waiting.len() > shown {
        let _ = writeln!(text, "and {} more; --all lists them", waiting.len() - shown);
    }
    Ok((text, json))
}

/// The one applicant of this name, and of these words where there are several.
fn applicant(name: &str, words: &str, shared: &Shared) -> Result<ApplicantReport, Failure> {
    let waiting = applicants(shared)?;
    let is_meant = |it: &ApplicantReport| {
        let said = format!("{} ", spoken(&it.key));
        it.name == name && (words.is_empty() || said.starts_with(&format!("{} ", words.trim())))
    };
    let mut meant = waiting.into_iter().filter(is_meant);
    match (meant.next(), meant.count()) {
        (Some(one), 0) => Ok(one),
        (Some(_), more) => Err(Failure::Failed(format!(
            "{} applicants ask for the name {name}; use --words with what `ca pending` shows and \
             its owner reads out",
            more + 1
        ))),
        (None, _) => Err(Failure::Failed(format!(
            "nobody waits who is called {name:?} and has these words; `ca pending` lists who does"
        ))),
    }
}

/// Tells the running arbiter what an applicant is to be answered.
fn answer(
    applicant: ApplicantReport,
    certificates: Option<(String, String)>,
    why: &str,
    shared: &Shared,
) -> Result<(), Failure> {
    let request =
        Request::AnswerApplicant { key: applicant.key, certificates, why: why.to_owned() };
    match shared.arbiter().ask(&request)? {
        true => Ok(()),
        false => Err(Failure::Failed(format!("{} waits no more", applicant.name))),
    }
}

fn admit(admit: &Admit, shared: &Shared) -> TwiceSaid {
    let applicant = applicant(&admit.name, &admit.words, shared)?;
    let request = SigningRequest::from_pem(&applicant.request, Path::new("the request"));
    let request = request.map_err(Failure::of)?;
    let terms = CertificateTerms {
        kind: CertificateKind::Peer,
        name: Some(&applicant.name),
        length: days(admit.days),
        is_again: admit.again,
    };
    let now = now();
    let (signed, authority) = signed(&request, &terms, admit.trusted, shared)?;
    let words = spoken(&request.fingerprint);
    let certificates = (signed.certificate, authority.certificate().to_owned());
    answer(applicant, Some(certificates), "", shared)?;
    let left = signed.life.days_left(now);
    let json = json!({ "name": signed.name, "days": left, "words": words });
    Ok((
        format!(
            "{}: a peer for {}; its words are {words}\n",
            signed.name,
            plural(left, "day", "days")
        ),
        json,
    ))
}

fn refuse(refuse: &Refuse, shared: &Shared) -> TwiceSaid {
    check_why(&refuse.why)?;
    let applicant = applicant(&refuse.name, &refuse.words, shared)?;
    answer(applicant, None, refuse.why.trim(), shared)?;
    Ok((format!("{}: refused\n", refuse.name), json!({ "name": refuse.name })))
}

/// Signs a request, and does what follows for its peer: its role in the database, and that it is
/// believed.
fn signed(
    request: &SigningRequest,
    terms: &CertificateTerms<'_>,
    is_trusted: bool,
    shared: &Shared,
) -> Result<(Signed, Authority), Failure> {
    let authority = open(&shared.dir, shared.passphrase_file.as_deref())?;
    let signed = authority.sign(request, terms).map_err(Failure::of)?;
    if let (Some(role), Some(mut roles)) = (&signed.role, roles(shared)?) {
        roles.create_role(&signed.name, role).map_err(Failure::of)?;
    }
    if is_trusted {
        believe(&shared.arbiter(), signed.name.clone(), true, String::new())?;
    }
    Ok((signed, authority))
}

fn sign(sign: &Sign, shared: &Shared) -> TwiceSaid {
    if sign.announcer && (sign.trusted || shared.database.is_some()) {
        let why = "--announcer: it is no peer; leave out --trusted and --database";
        return Err(Failure::Usage(why.to_owned()));
    }
    let request = SigningRequest::read(&sign.request).map_err(Failure::of)?;
    let terms = CertificateTerms {
        kind: if sign.announcer { CertificateKind::Announcer } else { CertificateKind::Peer },
        name: sign.name.as_deref(),
        length: days(sign.days),
        is_again: sign.again,
    };
    // Before it is signed: a second later a day of it would be no whole one.
    let now = now();
    let (signed, _) = signed(&request, &terms, sign.trusted, shared)?;
    let left = signed.life.days_left(now);
    let json = json!({
        "name": signed.name, "days": left, "is_old": signed.is_old, "out": sign.out,
        "certificate": signed.certificate,
    });
    let Some(out) = &sign.out else {
        return Ok((signed.certificate, json));
    };
    folder::write_new(out, &signed.certificate, 0o644).map_err(Failure::of)?;
    let before = if signed.is_old { ", signed before" } else { "" };
    let kind = if sign.announcer { "announcer" } else { "peer" };
    Ok((
        format!(
            "{}: {kind} {}, {}{before}\n",
            out.display(),
            signed.name,
            plural(left, "day", "days")
        ),
        json,
    ))
}

fn list(list: &List, shared: &Shared) -> TwiceSaid {
    let register = Register::open(&shared.dir).map_err(Failure::of)?;
    let now = now();
    let shown = register.issued.iter().filter(|it| list.all || it.ends >= now).collect::<Vec<_>>();
    let json = serde_json::to_value(&shown).map_err(Failure::of)?;
    let mut table = Table::new(["name", "kind", "days", "state", "serial"]);
    for issued in shown {
        let state = match &issued.revoked {
            Some(revoked) => format!("revoked: {}", revoked.why),
            None if issued.ends < now => "ended".to_owned(),
            None if issued.is_renewal => "renewal".to_owned(),
            None => "good".to_owned(),
        };
        table.row([
            issued.name.clone(),
            match issued.kind {
                CertificateKind::Announcer => "announcer",
                CertificateKind::Peer => "peer",
                CertificateKind::Server => "server",
            }
            .to_owned(),
            issued.life().days_left(now).to_string(),
            state,
            issued.serial.clone(),
        ]);
    }
    Ok((table.text(), json))
}

fn revoke(revoke: &Revoke, shared: &Shared) -> TwiceSaid {
    let why = revoke.why.trim();
    if why.is_empty() {
        return Err(Failure::Usage("--why: use one line that says why".to_owned()));
    }
    check_why(why)?;
    let kind = match (revoke.announcer, revoke.server) {
        (false, false) => CertificateKind::Peer,
        (true, false) => CertificateKind::Announcer,
        (false, true) => CertificateKind::Server,
        (true, true) => {
            return Err(Failure::Usage("use --announcer or --server, not both".to_owned()));
        }
    };
    if kind != CertificateKind::Peer && shared.database.is_some() {
        let why = "--database: only peers have roles there; leave out --announcer and --server";
        return Err(Failure::Usage(why.to_owned()));
    }
    let reason = revoke.reason.or_else(|| why.parse().ok());
    let revoked =
        Revoked { at: now(), reason: reason.unwrap_or(Reason::Unspecified), why: why.to_owned() };
    let authority = open(&shared.dir, shared.passphrase_file.as_deref())?;
    let newly = authority.revoke(kind, &revoke.name, &revoked).map_err(Failure::of)?;
    let list = Folder::new(&shared.dir).revocations();
    let serials: Vec<&String> = newly.iter().map(|issued| &issued.serial).collect();
    let mut json = json!({ "name": revoke.name, "revoked": serials, "revocations": list });
    let mut text = String::new();
    for issued in &newly {
        let _ = writeln!(text, "revoked {} of {}", issued.serial, issued.name);
    }
    if newly.is_empty() {
        let _ = writeln!(text, "{} has no certificate that is still good", revoke.name);
    }
    // After the list, so that a server that can't be reached keeps nobody in; said again, the
    // command does what is left.
    if let Some(mut roles) = roles(shared)? {
        let ended = roles.drop_role(&revoke.name).map_err(Failure::of)?;
        let leases = plural(ended.len() as u64, "lease", "leases");
        let _ = writeln!(text, "dropped its role; {leases} ended");
        json["leases_ended"] = ended.len().into();
    }
    let _ = writeln!(text, "{}  for arbiters and database servers", list.display());
    Ok((text, json))
}

fn crl(shared: &Shared) -> TwiceSaid {
    let authority = open(&shared.dir, shared.passphrase_file.as_deref())?;
    authority.refresh().map_err(Failure::of)?;
    let list = Folder::new(&shared.dir).revocations();
    let text = format!("{}  for arbiters and database servers\n", list.display());
    Ok((text, json!({ "revocations": list })))
}

/// Opens the authority in a folder; its passphrase, if it has one, as the commands find it.
pub(crate) fn open(dir: &Path, file: Option<&Path>) -> Result<Authority, Failure> {
    Authority::open_with(dir, &|path| ask(path, file)).map_err(Failure::of)
}

/// The database in which peers have roles, if one is named.
fn roles(shared: &Shared) -> Result<Option<Postgres>, Failure> {
    let Some(address) = shared.database.clone() else {
        return Ok(None);
    };
    let files = Files {
        certificate: shared.database_certificate.clone(),
        key: shared.database_key.clone(),
        authority: Folder::new(&shared.dir).certificates(),
    };
    let address = address.with_identity(&files).map_err(Failure::of)?;
    Postgres::open_for_roles(address).map(Some).map_err(Failure::of)
}

/// The passphrase of the key in `path`: from the file, the variable, or whoever is at the terminal.
fn ask(path: &Path, file: Option<&Path>) -> Result<String, CaError> {
    match given(file) {
        Ok(Some(passphrase)) => Ok(passphrase),
        Err(Failure::Failed(why) | Failure::Usage(why)) => Err(CaError::Refused(why)),
        Ok(None) if !io::stdin().is_terminal() => passphrase::none(path),
        Ok(None) => rpassword::prompt_password(format!("passphrase of {}: ", path.display()))
            .map_err(|cause| CaError::Refused(format!("ask for a passphrase: {cause}"))),
    }
}

/// The passphrase in a file's first line, or in the variable; `None` if there is neither.
fn given(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let text = match file {
        Some(path) => {
            let mut text = String::new();
            let limit = PASSPHRASE_BYTES_MAX;
            std::fs::File::open(path)
                .and_then(|file| file.take(limit).read_to_string(&mut text))
                .map_err(|cause| Failure::of(format!("read {}: {cause}", path.display())))?;
            text
        }
        None => match std::env::var(PASSPHRASE) {
            Ok(text) => text,
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(cause) => return Err(Failure::of(format!("{PASSPHRASE}: {cause}"))),
        },
    };
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        let from = file.map_or_else(|| PASSPHRASE.to_owned(), |path| path.display().to_string());
        let why = format!("{from}: empty; put the passphrase in its first line");
        return Err(Failure::Failed(why));
    }
    Ok(Some(line.to_owned()))
}

fn asked_twice() -> Result<String, Failure> {
    let asked = |text: &str| {
        let answer = rpassword::prompt_password(text);
        answer.map_err(|cause| Failure::of(format!("ask for a passphrase: {cause}")))
    };
    let (one, other) = (asked("new passphrase: ")?, asked("the same again: ")?);
    if one.is_empty() || one != other {
        return Err(Failure::of("the two are not the same, or empty; try again"));
    }
    Ok(one)
}

fn check_why(why: &str) -> Result<(), Failure> {
    if why.len() <= WHY_BYTES_MAX && !why.contains(char::is_control) {
        return Ok(());
    }
    Err(Failure::Usage(format!("--why: use one line of at most {WHY_BYTES_MAX} bytes")))
}

/// So many days. A certificate ends before the one that signed it.
fn life(text: &str) -> Result<u32, String> {
    usage::whole(text, usage::DAYS, 1..=ca::ISSUER_DAYS - 1)
}

fn days(days: u32) -> Duration {
    usage::DAYS.0 * days
}

fn now() -> u64 {
    clock::wall_millis() / 1000
}
