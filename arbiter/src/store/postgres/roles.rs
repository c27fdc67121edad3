//! The roles in which peers log into the database: made when a peer is signed, dropped when it is
//! revoked. What they may do is in `migration/postgres/0004_peer.sql`, and who may log in as one in
//! `packaging/postgresql/`. Any role can find out what others are called; so a peer's certificate
//! says a name that says nothing, and the table `arbiter.role` whose it is. Earlier certificates
//! don't: their peers' roles are called as they are, until they show a newer one.

use super::{Cause, Postgres, PostgresTx, refused};
use crate::rules::timestamp::Timestamp;
use crate::store::{Lease, StoreError, leases};
use canister_authority::CaError;
use canister_link::certificate::{is_name, is_role};
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
/// What else, where a superuser lets the arbiter set it, as `setup.sql` does: the role itself can't set it
/// otherwise. What it sorts may take so much of the disk, and nothing that it says is written to the log.
const SUPERUSERS: &[(&str, &str)] = &[
    ("temp_file_limit", "64MB"),
    ("log_min_messages", "fatal"),
    ("log_min_error_statement", "panic"),
];
/// How long it is waited until a session that was told to end has ended.
const END_MAX: Duration = Duration::from_secs(1);
/// How often it is looked at whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Postgres {
    /// Makes the role of a peer, called `name` as its certificate says, which logs in by that and can do
    /// nothing but call the two functions of peers. One that the peer has is called so from now on.
    ///
    /// **Repeated**: the role is as if it were new.
    ///
    /// # Errors
    /// `Refused` where no peer or no role may be called so, or another role is. `Io` where the rights
    /// don't suffice: the database's owner needs CREATEROLE.
    pub fn create_role(&mut self, peer: &str, name: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            check(peer, name)?;
            group(tx)?;
            match (kind(tx, name)?, role_of(tx, peer)?) {
                (RoleKind::Peer, _) => {
                    tx.batch(&format!("ALTER ROLE {name:?} LOGIN PASSWORD NULL"))?;
                }
                (RoleKind::None, Some(before)) => {
                    tx.batch(&format!("ALTER ROLE {before:?} LOGIN PASSWORD NULL"))?;
                    tx.batch(&format!("ALTER ROLE {before:?} RENAME TO {name:?}"))?;
                }
                (RoleKind::None, None) => {
                    tx.batch(&format!("CREATE ROLE {name:?} LOGIN IN ROLE {GROUP}"))?;
                }
                (RoleKind::Other, _) => {
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
            for (setting, value) in SUPERUSERS {
                let may = "SELECT has_parameter_privilege($1, 'SET')";
                if tx.one(may, &[setting])?.get(0) {
                    tx.batch(&format!("ALTER ROLE {name:?} SET {setting} = '{value}'"))?;
                }
            }
            is_of(tx, peer, name)
        })
    }

    /// Has the role of a peer that an earlier arbiter made, and called as the peer, be called `name`, as
    /// its certificate now says; whether there was one.
    ///
    /// **Repeated**: no.
    ///
    /// # Errors
    /// `Io` where the rights don't suffice.
    pub(in crate::store) fn rename_role(
        &mut self,
        peer: &str,
        name: &str,
    ) -> Result<bool, StoreError> {
        let is_old = |tx: &mut PostgresTx<'_>| {
            Ok(is_role(name) && is_name(peer) && kind(tx, peer)? == RoleKind::Peer)
        };
        if !self.read(is_old)? {
            return Ok(false);
        }
        self.write(|tx| {
            if !is_old(tx)? || kind(tx, name)? != RoleKind::None {
                return Ok(false);
            }
            tx.batch(&format!("ALTER ROLE {peer:?} RENAME TO {name:?}"))?;
            is_of(tx, peer, name)?;
            Ok(true)
        })
    }

    /// Removes the role of a peer: from now on it can't log in, its sessions end, its
    /// leases end, but one that is being published at this moment. Returns those.
    ///
    /// **Repeated**: there is nothing left to do.
    ///
    /// # Errors
    /// `Io` where the rights don't suffice, or a session
    /// hasn't ended after a second: then the role is left, which can't log in any more.
    pub fn drop_role(&mut self, peer: &str) -> Result<Vec<Lease>, StoreError> {
        // First nobody gets in, then those who are in are sent out: else one could slip in between.
        let role = self.write(|tx| {
            check(peer, peer)?;
            let role = role_of(tx, peer)?;
            if let Some(name) = &role {
                tx.batch(&format!("ALTER ROLE {name:?} NOLOGIN"))?;
            }
            Ok(role)
        })?;
        if let Some(name) = &role {
            self.end_all_sessions(name)?;
        }
        self.write(|tx| {
            let now: Timestamp = tx.one("SELECT arbiter.now()", &[])?.get(0);
            let ended = leases::end_all(tx, peer, leases::REVOKED, now)?;
            if let Some(name) = &role {
                tx.batch(&format!("DROP ROLE {name:?}"))?;
            }
            tx.execute("DELETE FROM role WHERE peer = $1", &[&peer])?;
            Ok(ended)
        })
    }

    /// Has roles of peers that publish nothing log in no more and ends their sessions; which peers'.
    pub(in crate::store) fn shut_out(&mut self) -> Result<Vec<String>, StoreError> {
        let (peers, roles): (Vec<_>, Vec<_>) = self.write(|tx| {
            let inside = tx.query(
                "SELECT peer.name FROM peer
                 LEFT JOIN role ON role.peer = peer.name
                 JOIN pg_roles ON rolname::text = coalesce(role.name, peer.name)
                 WHERE trust IN ('probation', 'suspended') AND rolcanlogin ORDER BY 1",
                &[],
            )?;
            let mut out = Vec::new();
            for peer in inside.iter().map(|row| row.get::<_, String>(0)) {
                if let Some(name) = role_of(tx, &peer)? {
                    tx.batch(&format!("ALTER ROLE {name:?} NOLOGIN"))?;
                    out.push((peer, name));
                }
            }
            Ok(out.into_iter().unzip())
        })?;
        for name in &roles {
            self.end_all_sessions(name)?;
        }
        Ok(peers)
    }

    /// Has the role of a peer log in again, if it has one.
    pub(in crate::store) fn let_in(&mut self, peer: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            check(peer, peer)?;
            if let Some(name) = role_of(tx, peer)? {
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

/// What the role of a peer is called, if it has one.
fn role_of(tx: &mut PostgresTx<'_>, peer: &str) -> Result<Option<String>, Cause> {
    let named = tx.maybe("SELECT name FROM role WHERE peer = $1", &[&peer])?;
    let name = named.map_or_else(|| peer.to_owned(), |row| row.get(0));
    Ok((kind(tx, &name)? == RoleKind::Peer).then_some(name))
}

/// Notes whose a role is, unless its name says it.
fn is_of(tx: &mut PostgresTx<'_>, peer: &str, name: &str) -> Result<(), Cause> {
    if name != peer {
        tx.execute(
            "INSERT INTO role (peer, name) VALUES ($1, $2)
             ON CONFLICT (peer) DO UPDATE SET name = excluded.name",
            &[&peer, &name],
        )?;
    }
    Ok(())
}

/// Names go into statements as they are.
fn check(peer: &str, role: &str) -> Result<(), Cause> {
    match is_name(peer) && (is_role(role) || role == peer) {
        true => Ok(()),
        false => refused(CaError::Name(peer.to_owned()).to_string()),
    }
}
