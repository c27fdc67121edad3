//! Staging: how rows get there.

use super::{Cause, Once, array, refused, room, signed};
use crate::rules::timestamp::Timestamp;
use crate::rules::trust::LeaseKind;
use crate::store::{STAGED_BYTES_MAX, STAGED_ROWS_MAX, leases};
use canister_protocol::{Rows, version};
use rusqlite::params;

pub(super) fn put(
    tx: &mut Once<'_>,
    peer: &str,
    token: u64,
    rows: &Rows,
    now: Timestamp,
) -> Result<(), Cause> {
    let held = leases::seen_held(tx, peer, token, now)?;
    if held.lease.kind == LeaseKind::Audit {
        return refused(format!("lease {token} is an audit"));
    }
    let mut insert = tx.0.prepare_cached(
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
    for row in rows.iter() {
        let inserted = insert.execute(params![
            signed(token),
            row.digest(&mut scratch).0,
            row.id(&held.lease.slug),
            version::key(row.version),
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
    let (put, bytes) = (held.put + put, held.put_bytes + bytes);
    if put > STAGED_ROWS_MAX || bytes > STAGED_BYTES_MAX {
        return refused(format!(
            "{put} rows of {bytes} bytes put under lease {token}, at most \
             {STAGED_ROWS_MAX} of {STAGED_BYTES_MAX} are taken"
        ));
    }
    let staged: i64 = tx.0.query_row(
        "SELECT coalesce(sum(put_bytes), 0) FROM staged WHERE token <> ?1",
        [signed(token)],
        |row| row.get(0),
    )?;
    let (staged, disk) = (staged.cast_unsigned() + bytes, room(tx.0)?);
    let most = disk.staging_max(staged);
    if staged > most {
        return refused(format!(
            "{staged} bytes are staged under all leases, at most {most} are taken for the room on \
             the disk"
        ));
    }
    tx.0.prepare_cached("UPDATE staged SET put = ?2, put_bytes = ?3 WHERE token = ?1")?
        .execute(params![signed(token), signed(put), signed(bytes)])?;
    Ok(())
}
