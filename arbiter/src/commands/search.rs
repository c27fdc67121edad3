//! `search`: the catalogue, read in the database itself.

use super::ask::show;
use argh::{ArgsInfo, FromArgs};
use canister_arbiter::config::Settings;
use canister_arbiter::{report, store};
use canister_link::identity::Files;
use canister_link::settings::Reader;
use canister_link::usage::{self, Failure, Said};

/// The settings that it takes.
pub(super) const SETTINGS: [&str; 5] =
    ["state", "database", "database_certificate", "database_key", "database_authority"];

/// Search the catalogue; works also while no arbiter runs.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "search")]
pub(crate) struct Search {
    /// most results (default: 10)
    #[argh(option, default = "10", from_str_fn(usage::number))]
    limit: usize,
    /// words to look for
    #[argh(positional)]
    words: Vec<String>,
}

pub(crate) fn search(search: &Search, from: &mut Reader<'_>) -> Said {
    let is_json = from.given.is_json;
    if search.words.is_empty() {
        return Err(Failure::Usage("no words to search for; use search WORDS".to_owned()));
    }
    let files = Files {
        certificate: Settings::database_certificate(from).map_err(Failure::Usage)?,
        key: Settings::database_key(from).map_err(Failure::Usage)?,
        authority: Settings::database_authority(from).map_err(Failure::Usage)?,
    };
    let database = Settings::database(from).map_err(Failure::Usage)?;
    let database = database.with_identity(&files).map_err(Failure::of)?;
    let mut store = store::open_read_only(&database).map_err(Failure::of)?;
    let found = store.search(&search.words.join(" "), search.limit).map_err(Failure::of)?;
    if found.is_empty() && !is_json {
        return Err(Failure::Failed("nothing found".to_owned()));
    }
    show(is_json, &found, |found| report::found(found))
}
