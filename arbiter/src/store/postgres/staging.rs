//! Staging: what a peer asks and puts under its lease. The rules are in the database, for a peer
//! that writes there itself is held to the same ones (`migration/postgres/0003_staging.sql`).

use super::{Cause, PostgresTx, signed};
use crate::rules::timestamp::Timestamp;
use crate::store::{STAGED_BYTES_MAX, STAGED_ROWS_MAX};
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
    let texts: [_; Rows::COLUMNS] = std::array::from_fn(|column| rows.column(column));
    let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16, t17] = &texts;
    let (sizes, installed_sizes) = (rows.package_sizes(), rows.installed_sizes());
    let version_keys = rows.version_keys();
    // The price, the fifth of the texts, stands behind the size there.
    tx.query(
        "SELECT arbiter.put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
             $16, $17, $18, $19, $20, $21, $22, $23, $24)",
        &[
            &peer,
            &signed(token),
            &now,
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
