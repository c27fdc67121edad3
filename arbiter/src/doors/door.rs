//! The peers' door: who is let in, and who must leave again. TLS asks each connection for a
//! certificate of the authority; the revocation list is watched, and a session ends whose certificate
//! it names or whose certificate is past its date.

use crate::deeds::announce::Announcements;
use crate::deeds::renewal::Renewals;
use crate::hub::Hub;
use crate::rules::expiry::Expiry;
use crate::rules::revocations::{Revocations, Watched};
use crate::rules::timestamp::Timestamp;
use canister_link::clock;
use canister_link::identity::{Files, Identity};
use canister_link::websocket::REVOKED;
use canister_protocol::{Database, Floor};
use log::{error, info, warn};
use rustls::ServerConfig;
use smol::Timer;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often it is looked at whether the revocation list has changed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often it is said that something is about to end.
const WARN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the peers' connections share.
pub struct Door {
    /// The middle of the arbiter.
    pub hub: Rc<Hub>,
    /// Takes in what peers announce.
    pub announcements: Rc<Announcements>,
    /// Who renews peers' certificates.
    pub renewals: Renewals,
    /// Where peers may write their rows themselves.
    pub database: Option<Database>,
    /// The oldest version of agents that are granted leases, and from when on.
    pub floor: Option<Floor>,
    /// How long a price is good before the shop is asked again.
    pub price_age: Duration,
    tls: RefCell<Arc<ServerConfig>>,
}

impl Door {
    /// A door at which nobody has knocked yet.
    ///
    /// # Errors
    /// TLS refuses the identity.
    pub fn new(
        (hub, announcements): (Rc<Hub>, Rc<Announcements>),
        identity: &Identity,
        revocations: Revocations,
        renewals: Renewals,
        (database, price_age): (Option<Database>, Duration),
        floor: Option<Floor>,
    ) -> Result<Rc<Self>, rustls::Error> {
        let tls = tls(identity, &revocations)?;
        note_list(&hub, &revocations);
        *hub.revocations.borrow_mut() = Arc::new(revocations);
        Ok(Rc::new(Self {
            hub,
            announcements,
            renewals,
            database,
            floor,
            price_age,
            tls: RefCell::new(tls),
        }))
    }

    /// From when on a program is too old to be granted anything, if it is.
    pub fn too_old_from(&self, program: &str) -> Option<Timestamp> {
        let floor = self.floor.as_ref().filter(|floor| floor.is_above(program));
        floor.and_then(|floor| Timestamp::from_secs(floor.from))
    }

    /// What is revoked at the moment.
    pub fn revocations(&self) -> Arc<Revocations> {
        Arc::clone(&self.hub.revocations.borrow())
    }

    /// How a connection's TLS is to be at the moment.
    pub fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls.borrow())
    }
}

fn tls(identity: &Identity, revocations: &Revocations) -> Result<Arc<ServerConfig>, rustls::Error> {
    identity.server_config(revocations.lists()).map(Arc::new)
}

/// Looks for ever whether the lists have changed and whose certificate has ended, and acts on it.
pub async fn watch(door: Rc<Door>, (identity, files): (Identity, Files), mut watched: Watched) {
    let mut identity = Arc::new(identity);
    let mut warned = None;
    let mut written = written_at(&files.certificate);
    let (first, path) = (door.revocations(), watched.path().display());
    match first.ends() {
        Some(_) => info!(path:%, revoked = first.count(); "revocation list in force"),
        None => warn!(path:%; "no revocation list; nothing is revoked until there is one"),
    }
    drop(first);
    loop {
        Timer::after(LOOK_EVERY).await;
        let now_written = written_at(&files.certificate);
        if now_written.is_some() && now_written != written {
            written = now_written;
            if let Some(new) = take(&door, &files).await {
                identity = Arc::new(new);
                warned = None;
            }
        }
        let before = door.revocations();
        let signers = Arc::clone(&identity);
        // A long list takes its time, and the loop has none.
        let (again, read) = if watched.is_as_it_was() {
            (watched, Ok(None))
        } else {
            smol::unblock(move || {
                let read = watched.read(signers.authorities(), &before);
                (watched, read)
            })
            .await
        };
        watched = again;
        let path = watched.path().display();
        match read.and_then(|new| {
            let with = |new| Ok((tls(&identity, &new).map_err(|cause| cause.to_string())?, new));
            new.map(with).transpose()
        }) {
            Ok(None) => {}
            Ok(Some((tls, new))) => {
                info!(path:%, revoked = new.count(); "revocation list in force");
                note_list(&door.hub, &new);
                *door.tls.borrow_mut() = tls;
                *door.hub.revocations.borrow_mut() = Arc::new(new);
                warned = None;
                end_revoked(&door);
            }
            Err(cause) => error!(
                path:%, cause:%;
                "refused a revocation list; the one from before stays in force"
            ),
        }
        end_expired(&door);
        if warned.is_none_or(|at| clock::now() >= at) {
            warned = Some(clock::now() + WARN_EVERY);
            door.hub.ending().iter().for_each(|told| warn!("{told}"));
        }
    }
}

fn written_at(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|about| about.modified()).ok()
}

/// Shows a new certificate from now on, if it is a good one.
async fn take(door: &Door, files: &Files) -> Option<Identity> {
    let (own, files) = (files.certificate.clone(), files.clone());
    let path = own.display();
    let read = smol::unblock(move || Identity::load(&files).map_err(|cause| cause.to_string()));
    let taken = read.await.and_then(|identity| {
        let tls = tls(&identity, &door.revocations()).map_err(|cause| cause.to_string())?;
        Ok((identity, tls))
    });
    match taken {
        Ok((identity, tls)) => {
            info!(path:%; "shows its new certificate");
            *door.tls.borrow_mut() = tls;
            door.hub.renewed(&own, identity.certificate().life.ends);
            Some(identity)
        }
        Err(cause) => {
            error!(path:%, cause:%; "refused a new certificate; the one from before is shown");
            None
        }
    }
}

fn end_revoked(door: &Door) {
    let revocations = door.revocations();
    for (peer, session) in door.hub.sessions.borrow_mut().iter_mut() {
        if revocations.revoke(&session.chain) {
            warn!(peer; "its certificate was revoked; ending its session");
            session.tell_end(REVOKED, "revoked");
        }
    }
}

fn end_expired(door: &Door) {
    let now = clock::wall_millis() / 1000;
    for (_, session) in door.hub.sessions.borrow_mut().iter_mut() {
        if now > session.ends {
            session.tell_end(1008, "the peer's certificate has ended");
        }
    }
}

/// Has it watched when the list ends that is in force now.
fn note_list(hub: &Hub, revocations: &Revocations) {
    let mut expiries = hub.expiries.borrow_mut();
    expiries.retain(|expiry| expiry.what != LIST);
    let help = "`ca crl` signs a new one; what it revokes stays revoked, but PostgreSQL lets nobody in \
                when it is over";
    expiries.extend(revocations.ends().map(|ends| Expiry { what: LIST, ends, help, path: None }));
}

/// What the operator is told of by this name.
const LIST: &str = "revocation list";
