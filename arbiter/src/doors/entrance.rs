//! The entrance of a listener: takes whoever connects, as long as there is room, and has somebody
//! leave for a newcomer where there is none ([`crate::rules::crowd`]). The same for peers and for
//! everybody.

use crate::hub::Hub;
use crate::rules::crowd::{Crowd, place};
use crate::rules::proxies::TrustedProxies;
use canister_link::clock;
use log::{info, warn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::Timer;
use smol::future::yield_now;
use smol::net::{TcpListener, TcpStream};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Most connections at an entrance that nobody has let in yet. Each costs some kilobytes.
const VISITORS_MAX: usize = 1024;
/// File descriptors that stand ready for the operator's socket, the store and downloads.
const DESCRIPTORS_KEPT: usize = 32;
/// Most that are asked of the kernel. A session has one.
const DESCRIPTORS_MAX: u64 = 1 << 20;
/// How often a crowd is told of, and how many refusals are told one by one in that time.
const TOLD_EVERY: Duration = Duration::from_secs(60);
const TOLD_ONE_BY_ONE: u32 = 20;
/// How long nobody is taken after that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// How many connections may be open: of peers with their sessions, and of everybody.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// Of peers.
    pub peers: usize,
    /// Of everybody.
    pub public: usize,
}

impl Connections {
    /// What the machine gives, beside what is open already and what is kept.
    pub fn of_machine() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let most = limit.maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
        let raised = Rlimit { current: Some(most), maximum: limit.maximum };
        let most = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => most,
            Err(_) => limit.current.unwrap_or(DESCRIPTORS_MAX),
        };
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self::within(usize::try_from(most).unwrap_or(usize::MAX), open)
    }

    fn within(most: usize, open: usize) -> Self {
        let left = most.saturating_sub(open + DESCRIPTORS_KEPT).max(8);
        let public = (left / 4).min(VISITORS_MAX);
        Self { peers: left - public, public }
    }
}

/// The entrance of one listener.
pub struct Entrance {
    /// What it is called in the log.
    name: &'static str,
    /// Connections that may be open.
    most: usize,
    proxies: TrustedProxies,
    crowd: RefCell<Crowd>,
    /// What each visitor's task is; it ends with it.
    tasks: RefCell<HashMap<u64, smol::Task<()>>>,
    /// One for each connection that is open, let in or not, and this one.
    open: Rc<()>,
    told: Cell<CrowdLog>,
}

/// What was told in the log, and what wasn't.
#[derive(Clone, Copy)]
struct CrowdLog {
    since: Instant,
    one_by_one: u32,
    gave_way: u64,
    refused: u64,
    untold: u64,
}

/// A visitor, until it is let in: when this is dropped nobody has it leave any more.
pub struct Visit {
    entrance: Rc<Entrance>,
    id: u64,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.entrance.crowd.borrow_mut().leaves(self.id);
        if let Some(task) = self.entrance.tasks.borrow_mut().remove(&self.id) {
            task.detach();
        }
    }
}

impl Visit {
    /// It has said something, or is silent again.
    pub fn speaks(&self, has_spoken: bool) {
        self.entrance.crowd.borrow_mut().speaks(self.id, has_spoken);
    }

    /// Tells the operator why it wasn't let in, unless many aren't.
    pub fn refused(self, address: SocketAddr, cause: &str) {
        let entrance = &self.entrance;
        let mut told = entrance.told.get();
        if told.one_by_one < TOLD_ONE_BY_ONE {
            told.one_by_one += 1;
            info!(address:%, cause; "refused a connection");
        } else {
            told.untold += 1;
        }
        entrance.tells(told);
    }
}

impl Entrance {
    /// An entrance with so much room. Whoever comes over one of the `proxies` has no place: many come
    /// from there.
    pub fn new(name: &'static str, most: usize, proxies: TrustedProxies) -> Rc<Self> {
        let told =
            CrowdLog { since: clock::now(), one_by_one: 0, gave_way: 0, refused: 0, untold: 0 };
        Rc::new(Self {
            name,
            most,
            proxies,
            crowd: RefCell::new(Crowd::new(VISITORS_MAX.min(most))),
            tasks: RefCell::default(),
            open: Rc::new(()),
            told: Cell::new(told),
        })
    }

    /// Has whoever comes served, for ever.
    pub async fn accept<F: Future<Output = ()> + 'static>(
        self: Rc<Self>,
        hub: Rc<Hub>,
        listener: TcpListener,
        serve: impl Fn(TcpStream, SocketAddr, Visit) -> F,
    ) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(visit) = self.enters(address) {
                        let (id, open) = (visit.id, Rc::clone(&self.open));
                        let serve = serve(stream, address, visit);
                        let task = hub.executor().spawn(async move {
                            serve.await;
                            drop(open);
                        });
                        self.tasks.borrow_mut().insert(id, task);
                    }
                }
                Err(cause) => {
                    warn!(door = self.name, cause:%; "couldn't accept a connection");
                    Timer::after(ACCEPT_AGAIN).await;
                }
            }
            // However many come, the others get their turn.
            yield_now().await;
        }
    }

    fn enters(self: &Rc<Self>, address: SocketAddr) -> Option<Visit> {
        let ip = address.ip().to_canonical();
        // Behind a proxy on this machine, too, there are many.
        let is_proxy =
            self.proxies.has(ip) || ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
        let place = (!is_proxy).then(|| place(ip));
        let is_full = Rc::strong_count(&self.open) > self.most;
        let entered = self.crowd.borrow_mut().enters(place, is_full);
        let mut told = self.told.get();
        match entered {
            Some((_, None)) => {}
            Some((_, Some(leaves))) => {
                told.gave_way += 1;
                let task = self.tasks.borrow_mut().remove(&leaves);
                drop(task);
            }
            None => told.refused += 1,
        }
        self.tells(told);
        entered.map(|(id, _)| Visit { entrance: Rc::clone(self), id })
    }

    /// Tells of a crowd, but not often.
    fn tells(&self, mut told: CrowdLog) {
        let is_crowded = told.gave_way + told.refused + told.untold > 0;
        if is_crowded && clock::now() - told.since >= TOLD_EVERY {
            warn!(
                door = self.name, gave_way = told.gave_way, refused = told.refused,
                untold = told.untold;
                "a crowd: connections gave way to others, were refused for want of room, or weren't told of"
            );
            told =
                CrowdLog { one_by_one: 0, gave_way: 0, refused: 0, untold: 0, since: clock::now() };
        }
        if clock::now() - told.since >= TOLD_EVERY {
            told = CrowdLog { one_by_one: 0, since: clock::now(), ..told };
        }
        self.told.set(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept() {
        for (most, open, peers, public) in
            [(128, 20, 57, 19), (1024, 20, 729, 243), (65536, 30, 64450, 1024), (10, 20, 6, 2)]
        {
            let room = Connections::within(most, open);
            assert_eq!((room.peers, room.public), (peers, public), "{most}");
        }
    }
}
