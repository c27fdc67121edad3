//! Staging: what a peer asks and puts under its lease. A peer that writes there itself is held to the same
//! rules by the database (`migration/postgres/0026_cheap_staging.sql`); what is relayed was checked before, and
//! gets its ids and digests here.

use super::{Cause, PostgresTx, signed};
use crate::rules::timestamp::Timestamp;
use crate::store::{STAGED_BYTES_MAX, STAGED_ROWS_MAX, leases};
use canister_protocol::Rows;

// The function that stages rows says the same numbers.
const _: () = assert!(STAGED_ROWS_MAX == 4_000_000 && STAGED_BYTES_MAX == 2_147_483_648);

pub(super) fn put(
    tx: &mut PostgresTx<'_>,
    peer: &str,
    token: u64,
    rows: &Rows,
    now: Timestamp,
) -> Result<(), Cause> {
    let slug = leases::seen_held(tx, peer, token, now)?.lease.slug;
    let mut scratch = Vec::new();
    let digests: Vec<_> = rows.iter().map(|row| row.digest(&mut scratch).0.to_vec()).collect();
    let ids: Vec<_> = rows.iter().map(|row| row.id(&slug)).collect();
    let texts: [_; Rows::COLUMNS] = std::array::from_fn(|column| rows.column(column));
    let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16, t17] = &texts;
    let (sizes, installed_sizes) = (rows.package_sizes(), rows.installed_sizes());
    let version_keys = rows.version_keys();
    // The price, the fifth of the texts, stands behind the size there.
    tx.query(
        "SELECT arbiter.put_checked($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
             $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)",
        &[
            &peer,
            &signed(token),
            &now,
            &(rows.bytes() as i64),
            &ids,
            &digests,
            t0,
            t1,
            t2,
            t3,
            &sizes,
            t4,
            t5,
            t6,
            t7,
            t8,
            t9,
            t10,
            t11,
            t12,
            t13,
            t14,
            t15,
            t16,
            t17,
            &installed_sizes,
            &version_keys,
        ],
    )?;
    Ok(())
}
