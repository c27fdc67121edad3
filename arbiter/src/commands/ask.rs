//! The commands that talk to the running arbiter over the operator's socket.

use argh::{ArgsInfo, FromArgs};
use canister_arbiter::deeds::settle::Reloaded;
use canister_arbiter::doors::admin::{
    self, DecisionReport, ForecastOf, ForecastReport, HeldReport, HistoryReport, PLAN_HOURS_MAX,
    PeerReport, PlanReport, PolicyReport, Request, SOURCES_PAGE, SourceReport, StatusReport,
};
use canister_arbiter::report;
use canister_arbiter::rules::changes::Changed;
use canister_arbiter::rules::entry::Entry;
use canister_arbiter::store::{self, Publication};
use canister_link::clock::wall_millis;
use canister_link::usage::{self, Failure, Said};
use canister_protocol::message::PeerWish;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A command to the running arbiter.
pub(super) trait Ask {
    fn ask(self, arbiter: &Arbiter) -> Said;
}

/// The running arbiter, and how its answers are shown.
pub(super) struct Arbiter {
    pub(super) socket: PathBuf,
    pub(super) is_json: bool,
}

impl Arbiter {
    pub(super) fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failure> {
        let (answer, why) = admin::ask_or_last(&self.socket, request).map_err(Failure::Failed)?;
        if let Some(why) = why {
            // Beside the answer, which may go to a program.
            let _ = writeln!(io::stderr(), "canister-arbiter: {why}");
        }
        Ok(answer)
    }

    pub(super) fn show<T: Serialize>(&self, found: &T, text: impl Fn(&T) -> String) -> Said {
        show(self.is_json, found, text)
    }

    /// Asks for what is a text already.
    pub(super) fn tell(&self, request: &Request) -> Said {
        let said: String = self.ask(request)?;
        self.show(&serde_json::json!({ "said": said.trim_end() }), |_| said.clone())
    }
}

/// Apply a held change (see `held`).
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "accept")]
pub(crate) struct Accept {
    /// why, for whoever asks later (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// its number in `held`
    #[argh(positional, from_str_fn(usage::number))]
    number: u64,
}

impl Ask for Accept {
    fn ask(self, arbiter: &Arbiter) -> Said {
        decide(arbiter, self.number, true, self.why)
    }
}

/// Discard a held change (see `held`).
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "reject")]
pub(crate) struct Reject {
    /// why, for whoever asks later (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// its number in `held`
    #[argh(positional, from_str_fn(usage::number))]
    number: u64,
}

impl Ask for Reject {
    fn ask(self, arbiter: &Arbiter) -> Said {
        decide(arbiter, self.number, false, self.why)
    }
}

/// Allow sources to be indexed, whatever policy and block lists say. Remembered until `block`.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "allow")]
pub(crate) struct Allow {
    /// why, for whoever asks later (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// slug:NAME, host:NAME (and all hosts below it), or a uri and all below it
    #[argh(positional)]
    entry: Entry,
}

impl Ask for Allow {
    fn ask(self, arbiter: &Arbiter) -> Said {
        rule(arbiter, self.entry, true, self.why)
    }
}

/// Hide sources at once and stop indexing them. Remembered until `allow`.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "block")]
pub(crate) struct Block {
    /// why, for whoever asks later (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// slug:NAME, host:NAME (and all hosts below it), or a uri and all below it
    #[argh(positional)]
    entry: Entry,
}

impl Ask for Block {
    fn ask(self, arbiter: &Arbiter) -> Said {
        rule(arbiter, self.entry, false, self.why)
    }
}

/// Hide a source, stop polling it and delete its data later. Remembered until `sync SLUG` or
/// `approve SLUG`.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "delist")]
pub(crate) struct Delist {
    /// why, for whoever asks later (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// slug of the source
    #[argh(positional)]
    source: String,
}

impl Ask for Delist {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let Self { why, source } = self;
        let request = Request::Delist { source: source.clone(), by: user(), why };
        arbiter.show(&arbiter.ask::<Changed>(&request)?, |_| format!("{source} delisted\n"))
    }
}

/// List what was decided by command, newest first, and whether it is in force.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "decisions")]
pub(crate) struct Decisions {}

impl Ask for Decisions {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let found: Vec<DecisionReport> = arbiter.ask(&Request::Decisions)?;
        arbiter.show(&found, |found| report::decisions(found))
    }
}

/// List the changes that would hide much and wait for `accept` or `reject`.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "held")]
pub(crate) struct Held {}

impl Ask for Held {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let found: Vec<HeldReport> = arbiter.ask(&Request::Held)?;
        arbiter.show(&found, |found| report::held(found, wall_millis()))
    }
}

/// Show the requests planned for the coming hours, per server operator.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "plan")]
pub(crate) struct Plan {
    /// how far to look ahead, at most 31d, in whole hours (default: 24h)
    #[argh(option, default = "24", from_str_fn(ahead), long = "ahead")]
    hours: u32,
    /// a week by operator, with what would be hidden, delisted or starved, as sources failed so far
    #[argh(switch)]
    week: bool,
    /// for --week: another configuration file, whose poll schedules and pauses count
    #[argh(option)]
    config: Option<PathBuf>,
}

fn ahead(text: &str) -> Result<u32, String> {
    usage::whole(text, usage::HOURS, 1..=PLAN_HOURS_MAX)
}

impl Ask for Plan {
    fn ask(self, arbiter: &Arbiter) -> Said {
        if self.week {
            return forecast(arbiter, self.config.as_deref(), false);
        }
        if self.config.is_some() {
            return Err(Failure::Usage("--config is for --week".to_owned()));
        }
        let found: Vec<PlanReport> = arbiter.ask(&Request::Plan { hours: self.hours.into() })?;
        arbiter.show(&found, |found| report::plan(found, wall_millis()))
    }
}

/// Show what the last day's attempts would have cost under another configuration.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "replay")]
pub(crate) struct Replay {
    /// the configuration file, whose poll schedules and pauses count (default: the rules in force)
    #[argh(option)]
    config: Option<PathBuf>,
}

impl Ask for Replay {
    fn ask(self, arbiter: &Arbiter) -> Said {
        forecast(arbiter, self.config.as_deref(), true)
    }
}

/// What comes of a configuration file, or of the rules in force.
fn forecast(arbiter: &Arbiter, config: Option<&Path>, is_replay: bool) -> Said {
    let read = |path: &Path| {
        let failed = |cause| Failure::Failed(format!("read {}: {cause}", path.display()));
        std::fs::read_to_string(path).map_err(failed)
    };
    let of = config.map(read).transpose()?.map_or(ForecastOf::InForce, ForecastOf::Text);
    let found: ForecastReport = arbiter.ask(&Request::Forecast { of, is_replay })?;
    arbiter.show(&found, |found| report::forecast(found, wall_millis()))
}

/// Show where a second reading of a source differed: who read what, which rows, and who stood alone.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "dispute")]
pub(crate) struct Dispute {
    /// slug of the source
    #[argh(positional)]
    source: String,
}

impl Ask for Dispute {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let request = Request::Disputes { source: self.source };
        let found: Vec<store::Dispute> = arbiter.ask(&request)?;
        arbiter.show(&found, |found| report::disputes(found, wall_millis()))
    }
}

/// Believe a peer: it needn't prove itself, or is suspended no more. Until `suspend`, or a dispute.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "trust")]
pub(crate) struct Trust {
    /// why, for whoever asks later (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// name of the peer; it needn't have been here yet
    #[argh(positional)]
    peer: String,
}

impl Ask for Trust {
    fn ask(self, arbiter: &Arbiter) -> Said {
        believe(arbiter, self.peer, true, self.why)
    }
}

/// Give a peer nothing more and shut it out of the database. Remembered until `trust`.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "suspend")]
pub(crate) struct Suspend {
    /// why, for whoever asks later (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// name of the peer
    #[argh(positional)]
    peer: String,
}

impl Ask for Suspend {
    fn ask(self, arbiter: &Arbiter) -> Said {
        believe(arbiter, self.peer, false, self.why)
    }
}

/// List the newest 100 changes of the catalogue: by whom, from what, and who confirmed them.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "publications")]
pub(crate) struct Publications {
    /// slug of a source (default: those of all)
    #[argh(positional)]
    source: Option<String>,
}

impl Ask for Publications {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let request = Request::Publications { source: self.source };
        let found: Vec<Publication> = arbiter.ask(&request)?;
        arbiter.show(&found, |found| report::publications(found, wall_millis()))
    }
}

/// Read the configuration file again, apply what a running arbiter can take, and say what changed.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "reload")]
pub(crate) struct Reload {
    /// only say what would change
    #[argh(switch)]
    dry_run: bool,
    /// for --dry-run: also what the next week would bring, as `plan --week`
    #[argh(switch)]
    week: bool,
}

/// What it tells programs.
#[derive(Serialize)]
struct ReloadSaid {
    #[serde(flatten)]
    reloaded: Reloaded,
    #[serde(skip_serializing_if = "Option::is_none")]
    week: Option<ForecastReport>,
}

impl Ask for Reload {
    fn ask(self, arbiter: &Arbiter) -> Said {
        if self.week && !self.dry_run {
            return Err(Failure::Usage("--week is for --dry-run".to_owned()));
        }
        let reloaded: Reloaded = arbiter.ask(&Request::Reload { is_dry: self.dry_run })?;
        let of = ForecastOf::File;
        let request = self.week.then_some(Request::Forecast { of, is_replay: false });
        let week = request.map(|request| arbiter.ask::<ForecastReport>(&request)).transpose()?;
        let found = ReloadSaid { reloaded, week };
        arbiter.show(&found, |ReloadSaid { reloaded, week }| {
            let week =
                week.as_ref().map(|week| format!("\n{}", report::forecast(week, wall_millis())));
            report::reloaded(reloaded, self.dry_run) + &week.unwrap_or_default()
        })
    }
}

/// Show a source and its history.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "source")]
pub(crate) struct Source {
    /// slug of the source
    #[argh(positional)]
    source: String,
}

impl Ask for Source {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let found: HistoryReport = arbiter.ask(&Request::Source { source: self.source })?;
        arbiter.show(&found, |found| report::history(found, wall_millis()))
    }
}

/// Ask the policy.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "policy")]
pub(crate) struct Policy {
    #[argh(subcommand)]
    command: PolicyCommand,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum PolicyCommand {
    Check(PolicyCheck),
    List(PolicyList),
}

/// List the rules: of the settings, the block lists and what was decided.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list")]
struct PolicyList {}

/// Say whether a source may be indexed, or announced by somebody, and which rule decides.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "check")]
struct PolicyCheck {
    /// who would announce: announcer:NAME, peer:NAME, an address, or itself
    #[argh(option, long = "as")]
    announcer: Option<String>,
    /// a known source's slug, or any uri
    #[argh(positional)]
    source: String,
}

impl Ask for Policy {
    fn ask(self, arbiter: &Arbiter) -> Said {
        match self.command {
            PolicyCommand::Check(PolicyCheck { announcer, source }) => {
                arbiter.tell(&Request::Check { source, announcer })
            }
            PolicyCommand::List(PolicyList {}) => {
                let found: PolicyReport = arbiter.ask(&Request::Policy)?;
                arbiter.show(&found, report::policy)
            }
        }
    }
}

/// Show the arbiter as a whole.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status")]
pub(crate) struct Status {}

impl Ask for Status {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let found: StatusReport = arbiter.ask(&Request::Status)?;
        arbiter.show(&found, |found| report::status(found, wall_millis()))
    }
}

/// List the sources, with the result of their last attempt.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "sources")]
pub(crate) struct Sources {
    /// only those that are due
    #[argh(switch)]
    due: bool,
    /// only those whose last attempt failed by their fault
    #[argh(switch)]
    failing: bool,
    /// count those by why they fail
    #[argh(switch)]
    by_reason: bool,
    /// only those that the catalogue doesn't show
    #[argh(switch)]
    hidden: bool,
    /// only those of which a change is held
    #[argh(switch)]
    held: bool,
}

impl Sources {
    fn is_wished(&self, source: &SourceReport) -> bool {
        (!self.due || source.state == "due")
            && (!(self.failing || self.by_reason) || source.failures > 0)
            && (!self.hidden || !source.is_shown)
            && (!self.held || source.is_held)
    }

    fn text(&self, found: &[SourceReport]) -> String {
        match (self.by_reason, self.failing) {
            (true, _) => report::by_reason(found),
            (false, true) => report::failing(found, wall_millis()),
            (false, false) => report::sources(found, wall_millis()),
        }
    }
}

impl Ask for Sources {
    fn ask(self, arbiter: &Arbiter) -> Said {
        // What is sorted or counted is shown when all of it is here. Of the rest each page is a table of its own,
        // so that the first is seen at once however many follow.
        let is_in_parts = arbiter.is_json || !(self.failing || self.by_reason);
        let (mut found, mut is_begun) = (Vec::new(), false);
        let said = |found: &Vec<SourceReport>, is_begun: bool| {
            let text = arbiter.show(found, |found| self.text(found))?;
            // Of JSON all parts are one array.
            Ok(if arbiter.is_json && is_begun { text.replacen('[', ",", 1) } else { text })
        };
        for page in admin::pages_of_sources(|request| arbiter.ask(request)) {
            let mut page: Vec<SourceReport> = page?;
            page.retain(|source| self.is_wished(source));
            if is_in_parts && !page.is_empty() && found.len() + page.len() > SOURCES_PAGE {
                let part = said(&found, is_begun)?;
                let is_read = match arbiter.is_json {
                    true => usage::print(part.trim_end_matches("\n]\n"))?,
                    false => usage::print(&part)?,
                };
                if !is_read {
                    return Ok(String::new());
                }
                (found, is_begun) = (Vec::new(), true);
            }
            found.append(&mut page);
        }
        said(&found, is_begun)
    }
}

/// List the peers.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "peers")]
pub(crate) struct Peers {
    #[argh(subcommand)]
    command: Option<PeersCommand>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum PeersCommand {
    Drain(Drain),
    Restart(Restart),
    Resume(Resume),
    Stop(Stop),
}

impl Ask for Peers {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let (what, peers, all, why) = match self.command {
            None => {
                let found: Vec<PeerReport> = arbiter.ask(&Request::Peers)?;
                return arbiter.show(&found, |found| report::peers(found, wall_millis()));
            }
            Some(PeersCommand::Drain(Drain { peers, all, why })) => {
                (PeerWish::Drain, peers, all, why)
            }
            Some(PeersCommand::Restart(Restart { peers, all, why })) => {
                (PeerWish::Restart, peers, all, why)
            }
            Some(PeersCommand::Resume(Resume { peers, all, why })) => {
                (PeerWish::Resume, peers, all, why)
            }
            Some(PeersCommand::Stop(Stop { peers, all, why })) => (PeerWish::Stop, peers, all, why),
        };
        if all != peers.is_empty() {
            let why = "use names of peers, or --all for all that are connected to this arbiter";
            return Err(Failure::Usage(why.to_owned()));
        }
        arbiter.tell(&Request::Wish { what: what.word().to_owned(), peers, why })
    }
}

/// Makes a command that tells peers something.
macro_rules! wishes {
    ($($(#[doc = $about:literal])+ $name:literal $command:ident;)+) => {
        $(
            $(#[doc = $about])+
            #[derive(FromArgs, ArgsInfo)]
            #[argh(subcommand, name = $name)]
            struct $command {
                /// all that are connected to this arbiter
                #[argh(switch)]
                all: bool,
                /// why; the peer's owner is shown it (default: none)
                #[argh(option, default = "String::new()")]
                why: String,
                /// names of peers
                #[argh(positional)]
                peers: Vec<String>,
            }
        )+
    };
}

wishes! {
    /// Have peers finish what they hold and take no more, until `peers resume` or their next start.
    "drain" Drain;
    /// Have peers finish what they hold, end and be started again, in whatever version is installed then.
    "restart" Restart;
    /// Have peers work again after `peers drain`.
    "resume" Resume;
    /// Have peers finish what they hold and end, until their owners start them again.
    "stop" Stop;
}

/// Make a source due at once, even a delisted one; or all that are polled.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "sync")]
pub(crate) struct Sync {
    /// slug of the source (default: all that are polled)
    #[argh(positional)]
    source: Option<String>,
}

impl Ask for Sync {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let due: u64 = arbiter.ask(&Request::Sync { source: self.source.clone(), by: user() })?;
        match self.source {
            Some(slug) if due == 0 => Err(unlisted(&slug)),
            _ => arbiter.show(&serde_json::json!({ "due": due }), |_| format!("{due} made due\n")),
        }
    }
}

/// Announce a source's new head, as the operator: it is due at once, before others.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "announce")]
pub(crate) struct Announce {
    /// slug or uri of the source
    #[argh(positional)]
    source: String,
}

impl Ask for Announce {
    fn ask(self, arbiter: &Arbiter) -> Said {
        arbiter.tell(&Request::Announce { source: self.source })
    }
}

/// Show an announced or a delisted source and poll it like any other. Remembered until `delist`.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "approve")]
pub(crate) struct Approve {
    /// why, for whoever asks later (default: none)
    #[argh(option, default = "String::new()")]
    why: String,
    /// slug of the source
    #[argh(positional)]
    source: String,
}

impl Ask for Approve {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let Self { why, source } = self;
        let request = Request::Approve { source: source.clone(), by: user(), why };
        arbiter.show(&arbiter.ask::<Changed>(&request)?, |_| format!("{source} approved and due\n"))
    }
}

fn decide(arbiter: &Arbiter, number: u64, is_accepted: bool, why: String) -> Said {
    arbiter.tell(&Request::Decide { number, is_accepted, by: user(), why })
}

pub(super) fn believe(arbiter: &Arbiter, peer: String, is_trusted: bool, why: String) -> Said {
    arbiter.tell(&Request::Believe { peer, is_trusted, by: user(), why })
}

fn rule(arbiter: &Arbiter, entry: Entry, is_allowed: bool, why: String) -> Said {
    let changed: Changed = arbiter.ask(&Request::Rule { entry, is_allowed, by: user(), why })?;
    arbiter.show(&changed, |changed| match *changed == Changed::default() {
        true => "nothing changes by it now; it is remembered\n".to_owned(),
        false => report::changed(changed),
    })
}

/// JSON if that is wanted, else text for a terminal.
pub(super) fn show<T: Serialize>(is_json: bool, found: &T, text: impl Fn(&T) -> String) -> Said {
    if is_json {
        return serde_json::to_string_pretty(found).map(|text| text + "\n").map_err(Failure::of);
    }
    Ok(text(found))
}

fn unlisted(slug: &str) -> Failure {
    Failure::Failed(format!("no source on the source list is named {slug:?}; `sources` lists them"))
}

/// Who gives the command, as far as the environment says: for the operator's own memory.
pub(super) fn user() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    names
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
