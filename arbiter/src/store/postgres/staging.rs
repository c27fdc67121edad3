//! Staging: what a peer asks and puts under its lease. The rules are in the database, for a peer
//! that writes there itself is held to the same ones (`migration/postgres/0003_staging.sql`).

use super::{Cause, PostgresTx, signed};
use crate::rules::timestamp::Timestamp;
use crate::store::{STAGED_BYTES_MAX, STAGED_ROWS_MAX};
use canister_protocol::{PackageRow, version};

// The function that stages rows says the same numbers.
const _: () = assert!(STAGED_ROWS_MAX == 4_000_000 && STAGED_BYTES_MAX == 2_147_483_648);

/// Rows as the columns that `arbiter.put` takes, an array each.
pub(super) struct StagedColumns<'a> {
    package_id: Vec<&'a str>,
    version: Vec<&'a str>,
    architecture: Vec<&'a str>,
    package_filename: Vec<&'a str>,
    package_size: Vec<i64>,
    price: Vec<&'a str>,
    sha256_hash: Vec<Option<&'a str>>,
    name: Vec<Option<&'a str>>,
    description: Vec<Option<&'a str>>,
    author: Vec<Option<&'a str>>,
    maintainer: Vec<Option<&'a str>>,
    depiction: Vec<Option<&'a str>>,
    native_depiction: Vec<Option<&'a str>>,
    sileo_depiction: Vec<Option<&'a str>>,
    header_url: Vec<Option<&'a str>>,
    tint_color: Vec<Option<&'a str>>,
    icon_url: Vec<Option<&'a str>>,
    section: Vec<Option<&'a str>>,
    tags: Vec<String>,
    installed_size: Vec<Option<i64>>,
    version_key: Vec<Vec<u8>>,
}

impl<'a> StagedColumns<'a> {
    pub(super) fn of(rows: &'a [PackageRow]) -> Self {
        let text = |field: fn(&PackageRow) -> &String| -> Vec<&'a str> {
            rows.iter().map(|row| field(row).as_str()).collect()
        };
        let maybe = |field: fn(&PackageRow) -> &Option<String>| -> Vec<Option<&'a str>> {
            rows.iter().map(|row| field(row).as_deref()).collect()
        };
        let each = rows.iter();
        Self {
            package_id: text(|row| &row.package_id),
            version: text(|row| &row.version),
            architecture: text(|row| &row.architecture),
            package_filename: text(|row| &row.package_filename),
            package_size: each.clone().map(|row| signed(row.package_size)).collect(),
            price: text(|row| &row.price),
            sha256_hash: maybe(|row| &row.sha256_hash),
            name: maybe(|row| &row.name),
            description: maybe(|row| &row.description),
            author: maybe(|row| &row.author),
            maintainer: maybe(|row| &row.maintainer),
            depiction: maybe(|row| &row.depiction),
            native_depiction: maybe(|row| &row.native_depiction),
            sileo_depiction: maybe(|row| &row.sileo_depiction),
            header_url: maybe(|row| &row.header_url),
            tint_color: maybe(|row| &row.tint_color),
            icon_url: maybe(|row| &row.icon_url),
            section: maybe(|row| &row.section),
            tags: each.clone().map(tags).collect(),
            installed_size: each.clone().map(|row| row.installed_size.map(signed)).collect(),
            version_key: each.map(|row| version::key(&row.version)).collect(),
        }
    }

    pub(super) fn put(
        &self,
        tx: &mut PostgresTx<'_>,
        peer: &str,
        token: u64,
        now: Timestamp,
    ) -> Result<(), Cause> {
        tx.query(
            "SELECT arbiter.put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
                 $16, $17, $18, $19, $20, $21, $22, $23, $24)",
            &[
                &peer,
                &signed(token),
                &now,
                &self.package_id,
                &self.version,
                &self.architecture,
                &self.package_filename,
                &self.package_size,
                &self.price,
                &self.sha256_hash,
                &self.name,
                &self.description,
                &self.author,
                &self.maintainer,
                &self.depiction,
                &self.native_depiction,
                &self.sileo_depiction,
                &self.header_url,
                &self.tint_color,
                &self.icon_url,
                &self.section,
                &self.tags,
                &self.installed_size,
                &self.version_key,
            ],
        )?;
        Ok(())
    }
}

/// A row's tags in one text, each with U+001F before it: arrays of arrays can't be ragged.
fn tags(row: &PackageRow) -> String {
    row.tags.iter().flat_map(|tag| ["\u{1f}", tag]).collect()
}
