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
use std::time::{Duration, Instant};

/// How often each host is looked up.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// The pause between two look-ups: name servers are somebody's, too.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause when all are known.
const REST: Duration = Duration::from_secs(60);

/// Looks every host up, again and again.
pub async fn for_ever(hub: Rc<Hub>) {
    let mut looked: HashMap<String, Instant> = HashMap::new();
    loop {
        let hosts = match hub.store.call(|store| store.hosts()).await {
            Ok(hosts) => hosts,
            Err(cause) => {
                error!(cause:%; "couldn't list the sources' hosts");
                Vec::new()
            }
        };
        looked.retain(|host, _| hosts.binary_search(host).is_ok());
        for host in hosts {
            let is_recent = looked.get(&host).is_some_and(|at| clock::now() - *at < EVERY);
            // An address is known as it stands.
            if is_recent || host.parse::<IpAddr>().is_ok() {
                continue;
            }
            looked.insert(host.clone(), clock::now());
            let name = host.clone();
            match smol::unblock(move || addresses(&name)).await {
                Ok(addresses) => locate(&hub, host, addresses).await,
                Err(cause) => debug!(host, cause:%; "couldn't look a host up"),
            }
            Timer::after(PAUSE).await;
        }
        Timer::after(REST).await;
    }
}

fn addresses(host: &str) -> std::io::Result<Vec<IpAddr>> {
    // The port is not used; a look-up wants one.
    let found: Vec<SocketAddr> = (host, 443).to_socket_addrs()?.collect();
    // However many there are of one family, both are seen.
    Ok(interleaved(&found, None).into_iter().map(|address| address.ip()).collect())
}

async fn locate(hub: &Rc<Hub>, host: String, addresses: Vec<IpAddr>) {
    let now = hub.now();
    let located = hub.store.call(move |store| store.locate(&host, &addresses, now)).await;
    if let Err(cause) = located {
        error!(cause:%; "couldn't remember where a host is");
    }
}
