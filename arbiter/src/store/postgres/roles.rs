//! The roles in which peers log into the database: made when a peer is signed, dropped when it is
//! revoked. What they may do is in `migration/postgres/0004_peer.sql`, and who may log in as one in
//! `packaging/postgresql/`.

use super::{Cause, Postgres, PostgresTx, refused};
use crate::rules::timestamp::Timestamp;
use crate::store::{Lease, StoreError, leases};
use canister_authority as ca;
use canister_link::clock;
use std::time::Duration;

/// The group of all peers' roles. Its name can't be a peer's, for it has an underscore.
const GROUP: &str = "canister_peer";
/// Connections that a peer may have: the one it uses, one that it has just lost and the server
/// hasn't, and one to try things with.
const CONNECTIONS: u32 = 3;
/// What a session of a peer begins with.
const SETTINGS: &[(&str, &str)] = &[
    ("search_path", "pg_catalog"),
    ("statement_timeout", "60s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("idle_session_timeout", "5min"),
    ("jit", "off"),
];
/// How long it is waited until a session that was told to end has ended.
const END_MAX: Duration = Duration::from_secs(1);
/// How often it is looked at whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Postgres {
    /// Makes the role of the peer `name`, which logs in by its certificate and can do nothing but
    /// call the two functions of peers.
    ///
    /// **Repeated**: the role is as if it were new.
    ///
    /// # Errors
    /// `Refused` where no peer may be called so, or another role is. `Io` where the rights don't
    /// suffice: the database's owner needs CREATEROLE.
    pub fn create_role(&mut self, name: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            check(name)?;
            group(tx)?;
            match kind(tx, name)? {
                RoleKind::Peer => tx.batch(&format!("ALTER ROLE {name:?} LOGIN PASSWORD NULL"))?,
                RoleKind::None => {
                    tx.batch(&format!("CREATE ROLE {name:?} LOGIN IN ROLE {GROUP}"))?
                }
                RoleKind::Other => {
                    return refused(format!(
                        "{name} is a role in the database already, and no peer's: use another name \
                         for the peer"
                    ));
                }
            }
            tx.batch(&format!("ALTER ROLE {name:?} CONNECTION LIMIT {CONNECTIONS}"))?;
            for (setting, value) in SETTINGS {
                tx.batch(&format!("ALTER ROLE {name:?} SET {setting} = '{value}'"))?;
            }
            Ok(())
        })
    }

    /// Removes the role of the peer `name`: from now on it can't log in, its sessions end, its
    /// leases end, but one that is being published at this moment. Returns those.
    ///
    /// **Repeated**: there is nothing left to do.
    ///
    /// # Errors
    /// `Refused` where the role is no peer's. `Io` where the rights don't suffice, or a session
    /// hasn't ended after a second: then the role is left, which can't log in any more.
    pub fn drop_role(&mut self, name: &str) -> Result<Vec<Lease>, StoreError> {
        // First nobody gets in, then those who are in are sent out: else one could slip in between.
        let is_there = self.write(|tx| {
            check(name)?;
            let kind = kind(tx, name)?;
            match kind {
                RoleKind::Peer => tx.batch(&format!("ALTER ROLE {name:?} NOLOGIN"))?,
                RoleKind::None => {}
                RoleKind::Other => return refused(format!("{name} is a role of no peer")),
            }
            Ok(kind == RoleKind::Peer)
        })?;
        if is_there {
            self.end_all_sessions(name)?;
        }
        self.write(|tx| {
            let now: Timestamp = tx.one("SELECT arbiter.now()", &[])?.get(0);
            let ended = leases::end_all(tx, name, leases::REVOKED, now)?;
            if is_there {
                tx.batch(&format!("DROP ROLE {name:?}"))?;
            }
            Ok(ended)
        })
    }

    /// Has roles of peers that publish nothing log in no more and ends their sessions; which.
    pub(in crate::store) fn shut_out(&mut self) -> Result<Vec<String>, StoreError> {
        let names: Vec<String> = self.write(|tx| {
            let inside = tx.query(
                "SELECT name FROM peer JOIN pg_roles ON rolname::text = name
                 WHERE trust IN ('probation', 'suspended') AND rolcanlogin ORDER BY name",
                &[],
            )?;
            let mut names = Vec::new();
            for name in inside.iter().map(|row| row.get::<_, String>(0)) {
                if kind(tx, &name)? == RoleKind::Peer {
                    tx.batch(&format!("ALTER ROLE {name:?} NOLOGIN"))?;
                    names.push(name);
                }
            }
            Ok(names)
        })?;
        for name in &names {
            self.end_all_sessions(name)?;
        }
        Ok(names)
    }

    /// Has the role of a peer log in again, if it has one.
    pub(in crate::store) fn let_in(&mut self, name: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            check(name)?;
            if kind(tx, name)? == RoleKind::Peer {
                tx.batch(&format!("ALTER ROLE {name:?} LOGIN"))?;
            }
            Ok(())
        })
    }

    /// Ends the sessions of a role that can't log in any more, or gives up after a second.
    fn end_all_sessions(&mut self, name: &str) -> Result<(), StoreError> {
        let begun = clock::now();
        while self.end_sessions(name)? && clock::now() - begun < END_MAX {
            clock::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Tells the sessions of a role to end; whether there are any.
    fn end_sessions(&mut self, name: &str) -> Result<bool, StoreError> {
        self.write(|tx| {
            let told = tx.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1",
                &[&name],
            )?;
            Ok(!told.is_empty())
        })
    }
}

/// What a name is in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoleKind {
    Peer,
    Other,
    None,
}

fn kind(tx: &mut PostgresTx<'_>, name: &str) -> Result<RoleKind, Cause> {
    // A member of the group that is a superuser, or of anything else, was not made here.
    let row = tx.maybe(
        "SELECT NOT role.rolsuper AND array_agg(of.rolname::text) = ARRAY[$2::text]
         FROM pg_roles AS role
         LEFT JOIN pg_auth_members AS member ON member.member = role.oid
         LEFT JOIN pg_roles AS of ON of.oid = member.roleid
         WHERE role.rolname::text = $1 GROUP BY role.oid, role.rolsuper",
        &[&name, &GROUP],
    )?;
    Ok(match row.and_then(|row| row.get::<_, Option<bool>>(0)) {
        None => RoleKind::None,
        Some(true) => RoleKind::Peer,
        Some(false) => RoleKind::Other,
    })
}

/// Makes the group where it isn't there, and gives it its rights, which are the same each time.
fn group(tx: &mut PostgresTx<'_>) -> Result<(), Cause> {
    let there = "SELECT FROM pg_roles WHERE rolname = $1";
    if tx.maybe(there, &[&GROUP])?.is_none() {
        tx.batch(&format!("CREATE ROLE {GROUP} NOLOGIN"))?;
    }
    tx.batch(&format!(
        "GRANT USAGE ON SCHEMA peer TO {GROUP};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA peer TO {GROUP};
         DO $$ BEGIN
             EXECUTE format('GRANT CONNECT ON DATABASE %I TO {GROUP}', current_database());
         END $$"
    ))?;
    Ok(())
}

/// Names go into statements as they are.
fn check(name: &str) -> Result<(), Cause> {
    if ca::is_name(name) {
        return Ok(());
    }
    refused(ca::CaError::Name(name.to_owned()).to_string())
}
