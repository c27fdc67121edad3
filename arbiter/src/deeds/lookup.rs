//! Where the sources' servers are: each host's addresses, looked up by the arbiter itself. Hosts that
//! share one have one operator, whatever they are called; and a host that has one family of addresses
//! alone is reached by those peers only that have it, too.
//!
//! The arbiter asks its own name server and not its peers: a peer could make one operator of all by
//! naming one address for every host, and so slow the whole network down.

use crate::hub::Hub;
use canister_link::clock;
use canister_link::dial::order::interleaved;
use log::{debug, error};
use smol::Timer;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often each host is looked up.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// How many hosts are looked up at once that never were.
const AT_ONCE: usize = 8;
/// The pause between two look-ups of known ones: name servers are somebody's, too.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause when all are known ...
const REST: Duration = Duration::from_secs(60);
/// ... which ends so soon after the sources were settled anew.
const SETTLED_EVERY: Duration = Duration::from_secs(1);

/// Looks every host up, again and again.
pub async fn for_ever(hub: Rc<Hub>) {
    let mut looked: HashMap<String, Instant> = HashMap::new();
    loop {
        let terms = hub.terms();
        let hosts = match hub.store.call(|store| store.hosts()).await {
            Ok(hosts) => hosts,
            Err(cause) => {
                error!(cause:%; "couldn't list the sources' hosts");
                Vec::new()
            }
        };
        looked.retain(|host, _| hosts.binary_search(host).is_ok());
        // An address is known as it stands.
        let names = hosts.into_iter().filter(|host| host.parse::<IpAddr>().is_err());
        let is_new = |host: &String| !looked.contains_key(host);
        let (new, known): (Vec<String>, Vec<String>) = names.partition(is_new);
        // Sources wait for what was never looked up.
        for some in new.chunks(AT_ONCE) {
            let asked: Vec<_> = some.iter().map(|host| (host, look_up(host))).collect();
            for (host, asked) in asked {
                looked.insert(host.clone(), clock::now());
                locate(&hub, host, asked.await).await;
            }
        }
        for host in known {
            if looked.get(&host).is_some_and(|at| clock::now() - *at >= EVERY) {
                looked.insert(host.clone(), clock::now());
                locate(&hub, &host, look_up(&host).await).await;
                Timer::after(PAUSE).await;
            }
        }
        let rests_since = clock::now();
        while clock::now() - rests_since < REST && Arc::ptr_eq(&terms, &hub.terms()) {
            Timer::after(SETTLED_EVERY).await;
        }
    }
}

/// Begins to look a host up.
fn look_up(host: &str) -> smol::Task<std::io::Result<Vec<IpAddr>>> {
    let host = host.to_owned();
    smol::unblock(move || {
        // The port is not used; a look-up wants one.
        let found: Vec<SocketAddr> = (&*host, 443).to_socket_addrs()?.collect();
        // However many there are of one family, both are seen.
        Ok(interleaved(&found, None).into_iter().map(|address| address.ip()).collect())
    })
}

async fn locate(hub: &Rc<Hub>, host: &str, found: std::io::Result<Vec<IpAddr>>) {
    let addresses = match found {
        Ok(addresses) => addresses,
        Err(cause) => return debug!(host, cause:%; "couldn't look a host up"),
    };
    let (host, now) = (host.to_owned(), hub.now());
    match hub.store.call(move |store| store.locate(&host, &addresses, now)).await {
        Ok(()) => hub.wake(),
        Err(cause) => error!(cause:%; "couldn't remember where a host is"),
    }
}
