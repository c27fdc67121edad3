//! `backup`: a copy of the embedded database, also while the arbiter runs.

use super::ask::show;
use argh::{ArgsInfo, FromArgs};
use canister_arbiter::config::Settings;
use canister_arbiter::rules::text::mebibytes;
use canister_arbiter::store::{DatabaseAddress, Sqlite};
use canister_link::settings::Reader;
use canister_link::usage::{Failure, Said};
use serde_json::json;
use std::path::PathBuf;

/// The settings that it takes.
pub(super) const SETTINGS: [&str; 2] = ["state", "database"];

/// Copy the embedded database into a new file; works also while the arbiter runs.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "backup")]
pub(crate) struct Backup {
    /// the file, which isn't there yet
    #[argh(positional)]
    file: PathBuf,
}

pub(crate) fn backup(backup: &Backup, from: &mut Reader<'_>) -> Said {
    let database = Settings::database(from).map_err(Failure::Usage)?;
    let DatabaseAddress::File(file) = database else {
        let why = "the database is a server's: copy it there, with pg_dump or pg_basebackup";
        return Err(Failure::Failed(why.to_owned()));
    };
    let store = Sqlite::open_read_only(&file).map_err(Failure::of)?;
    let bytes = store.backup(&backup.file).map_err(Failure::of)?;
    show(from.given.is_json, &json!({ "file": backup.file, "bytes": bytes }), |_| {
        format!("{}: {}\n", backup.file.display(), mebibytes(bytes))
    })
}
