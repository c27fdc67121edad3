//! Staging: what a peer asks and puts under its lease. Nothing here touches the catalogue.

use super::{Sqlite, array, leases, refused, signed};
use crate::store::{STAGED_BYTES_MAX, STAGED_ROWS_MAX, StoreError};
use crate::timestamp::Timestamp;
use canister_protocol::message::cut;
use canister_protocol::{Digest, PackageRow, version};
use rusqlite::params;

impl Sqlite {
    pub(in crate::store) fn known(
        &mut self,
        peer: &str,
        token: u64,
        after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Digest>, StoreError> {
        self.read(|connection| {
            // Both statements must see one state, or a page could belong to a later publication.
            let tx = connection.unchecked_transaction()?;
            let lease = leases::held(&tx, peer, token, now)?;
            // An empty blob is below all digests.
            let after = after.map(|digest| digest.0);
            let after = after.as_ref().map_or(&[][..], |bytes| &bytes[..]);
            let mut statement = tx.prepare_cached(
                "SELECT digest FROM package
                 WHERE repository_id = ?1 AND left_at IS NULL AND digest > ?2
                 ORDER BY digest LIMIT ?3",
            )?;
            let limit = signed(limit as u64);
            let digests = statement
                .query_map(params![lease.lease.slug, after, limit], |row| row.get(0).map(Digest))?;
            Ok(digests.collect::<Result<_, _>>()?)
        })
    }

    pub(in crate::store) fn put(
        &mut self,
        peer: &str,
        token: u64,
        rows: &[PackageRow],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            let lease = leases::held(tx, peer, token, now)?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO staging (token, digest, id, version_key, package_id, price, version,
                     architecture, package_filename, package_size, sha256_hash, name, description,
                     author, maintainer, depiction, native_depiction, sileo_depiction, header_url,
                     tint_color, icon_url, section, tags, installed_size)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                     ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)
                 ON CONFLICT (token, digest) DO NOTHING",
            )?;
            let mut scratch = Vec::new();
            let (mut put, mut bytes) = (0, 0);
            for row in rows {
                if let Err(error) = row.check() {
                    return refused(format!("row of {:?}: {error}", cut(&row.package_id, 80)));
                }
                let inserted = insert.execute(params![
                    lease.number,
                    row.digest(&mut scratch).0,
                    row.id(&lease.lease.slug),
                    version::key(&row.version),
                    row.package_id,
                    row.price,
                    row.version,
                    row.architecture,
                    row.package_filename,
                    signed(row.package_size),
                    row.sha256_hash,
                    row.name,
                    row.description,
                    row.author,
                    row.maintainer,
                    row.depiction,
                    row.native_depiction,
                    row.sileo_depiction,
                    row.header_url,
                    row.tint_color,
                    row.icon_url,
                    row.section,
                    array(&row.tags),
                    row.installed_size.map(signed),
                ])?;
                if inserted == 1 {
                    put += 1;
                    bytes += row.bytes() as u64;
                }
            }
            let (put, bytes) = (lease.put + put, lease.put_bytes + bytes);
            if put > STAGED_ROWS_MAX || bytes > STAGED_BYTES_MAX {
                return refused(format!(
                    "{put} rows of {bytes} bytes put under lease {token}, at most \
                     {STAGED_ROWS_MAX} of {STAGED_BYTES_MAX} are taken"
                ));
            }
            tx.prepare_cached("UPDATE lease SET put = ?2, put_bytes = ?3 WHERE token = ?1")?
                .execute(params![lease.number, signed(put), signed(bytes)])?;
            Ok(())
        })
    }

    pub(in crate::store) fn dropped(
        &mut self,
        peer: &str,
        token: u64,
        digests: &[Digest],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            let lease = leases::held(tx, peer, token, now)?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO staging_dropped (token, digest) VALUES (?1, ?2)
                 ON CONFLICT (token, digest) DO NOTHING",
            )?;
            let mut dropped = lease.dropped;
            for digest in digests {
                dropped += insert.execute(params![lease.number, digest.0])? as u64;
            }
            if dropped > STAGED_ROWS_MAX {
                return refused(format!(
                    "{dropped} digests dropped under lease {token}, at most {STAGED_ROWS_MAX} \
                     are taken"
                ));
            }
            tx.prepare_cached("UPDATE lease SET dropped = ?2 WHERE token = ?1")?
                .execute(params![lease.number, signed(dropped)])?;
            Ok(())
        })
    }

    pub(in crate::store) fn discard(
        &mut self,
        peer: &str,
        token: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            let lease = leases::held(tx, peer, token, now)?;
            for statement in [
                "DELETE FROM staging WHERE token = ?1",
                "DELETE FROM staging_dropped WHERE token = ?1",
                "UPDATE lease SET put = 0, put_bytes = 0, dropped = 0 WHERE token = ?1",
            ] {
                tx.prepare_cached(statement)?.execute([lease.number])?;
            }
            Ok(())
        })
    }
}
