//! What of one source those are told who follow the network: its rows, and what they come from.

use super::sql::{Cause, Row, read, values};
use super::{FeedPackage, Store, StoreError, feed, sources};
use canister_protocol::PackageRow;
use canister_protocol::copy::{CopyPage, CopyRow};
use canister_protocol::message::Facts;

/// Most rows of a page ...
const ROWS_MAX: u64 = 1_000;
/// ... and bytes in their texts after which it is full.
const BYTES_MAX: usize = 1024 * 1024;

impl Store {
    /// A page of a source's rows behind that of the id `after`; `None` where it isn't shown or was never read.
    pub fn copy(
        &mut self,
        slug: &str,
        after: &str,
    ) -> Result<Option<(CopyPage, Vec<CopyRow>)>, StoreError> {
        self.read(|tx| {
            let Some(state) = sources::find(tx, slug)?.filter(|state| state.is_shown()) else {
                return Ok(None);
            };
            let Some(origin) = state.origin else { return Ok(None) };
            let facts = "SELECT * FROM repository WHERE id = $1";
            let facts = tx.maybe(facts, values![slug], facts_of)?.unwrap_or_default();
            let packages: Vec<FeedPackage> = tx.query(
                "SELECT * FROM package WHERE repository_id = $1 AND left_at IS NULL AND id > $2
                 ORDER BY id LIMIT $3",
                values![slug, after, ROWS_MAX],
                |row| feed::row(row).map(|(package, ..)| package),
            )?;
            let (mut rows, mut bytes, mut next) = (Vec::new(), 0, None);
            let is_full = packages.len() as u64 == ROWS_MAX;
            let last = packages.last().map(|last| last.id.clone());
            for package in packages {
                let id = package.id.clone();
                let row = copied(package);
                bytes += row.row.bytes();
                rows.push(row);
                if bytes >= BYTES_MAX {
                    next = Some(id);
                    break;
                }
            }
            let next = next.or_else(|| last.filter(|_| is_full));
            // Its server's validators are of no use to others.
            let origin =
                canister_protocol::message::Origin { etag: None, last_modified: None, ..origin };
            Ok(Some((CopyPage { source: state.source, origin, facts, next }, rows)))
        })
    }
}

fn facts_of(row: Row<'_>) -> Result<Facts, Cause> {
    let facts: Result<Facts, Cause> = read!(row => Facts {
        name, version, description, payment_gateway;
        has_in_release: row.get("origin_has_in_release")?,
        has_release_gpg: row.get("origin_has_release_gpg")?,
        date: None, payment_endpoint: None, signature: None, absent: Vec::new()
    });
    facts
}

/// The row as its stanza gave it, and the amount that its shop named.
fn copied(package: FeedPackage) -> CopyRow {
    const UNPRICED: [&str; 2] = ["Free", "Paid"];
    let is_priced = !UNPRICED.contains(&&*package.price);
    let amount = is_priced.then(|| package.price.clone());
    let price = if is_priced { UNPRICED[1].to_owned() } else { package.price };
    let row = PackageRow {
        package_id: package.package_id,
        version: package.version,
        architecture: package.architecture,
        package_filename: package.package_filename,
        package_size: package.package_size,
        price,
        sha256_hash: package.sha256_hash,
        name: package.name,
        description: package.description,
        author: package.author,
        maintainer: package.maintainer,
        depiction: package.depiction,
        native_depiction: package.native_depiction,
        sileo_depiction: package.sileo_depiction,
        header_url: package.header_url,
        tint_color: package.tint_color,
        icon_url: package.icon_url,
        section: package.section,
        tags: package.tags.unwrap_or_default(),
        installed_size: package.installed_size,
    };
    CopyRow { row, amount }
}
