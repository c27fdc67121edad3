//! The source list and the block lists: reading them from where they are, at start and again and again,
//! while nothing waits for it; what was read is then settled ([`crate::deeds::settle`]). A list that can't be
//! read changes nothing.

use crate::config::{ArbiterConfig, ListAddress};
use crate::deeds::download;
use crate::deeds::settle::{learn, settle, warn_of_idle};
use crate::hub::Hub;
use crate::rules::changes::Act;
use crate::rules::policy::{BLOCK_LIST_BYTES_MAX, read_block_list};
use crate::rules::sources::{self, SourceList};
use crate::store::{Settled, StoreError};
use log::{error, info, warn};
use smol::Timer;
use smol::lock::Mutex;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::rc::Rc;

/// Longest block list in bytes is [`BLOCK_LIST_BYTES_MAX`]; reading stops one byte behind.
const READ_MAX: u64 = BLOCK_LIST_BYTES_MAX + 1;

/// Why the lists weren't taken in.
#[derive(Debug)]
pub enum ListsError {
    /// The source list can't be read.
    List {
        /// Where it should be.
        list: ListAddress,
        why: String,
    },
    Store(StoreError),
}

impl From<StoreError> for ListsError {
    fn from(cause: StoreError) -> Self {
        Self::Store(cause)
    }
}

/// The lists of a running arbiter and where they come from.
pub struct Lists {
    hub: Rc<Hub>,
    /// What `run` was told.
    pub config: ArbiterConfig,
    /// Whose turn it is to read them: what was read earlier is settled earlier.
    turn: Mutex<()>,
}

impl Lists {
    /// The lists that `config` names.
    pub fn new(hub: Rc<Hub>, config: ArbiterConfig) -> Rc<Self> {
        Rc::new(Self { hub, config, turn: Mutex::new(()) })
    }

    /// Takes all lists in when the arbiter starts. A source list that can't be read is an error,
    /// unless it is elsewhere and sources are known already.
    ///
    /// # Errors
    /// [`ListsError`]
    pub async fn first(&self) -> Result<(), ListsError> {
        let (settled, read) = self.take().await?;
        warn_of_idle(&settled.changed);
        let Err(ListsError::List { list, why }) = read else {
            return read;
        };
        let now = self.hub.now();
        let is_known = self.hub.store.call(move |store| store.counts(now)).await?.sources > 0;
        if is_known && matches!(list, ListAddress::Url(_)) {
            warn!(list:%, why; "couldn't read the source list; going on with the known one");
            return Ok(());
        }
        Err(ListsError::List { list, why })
    }

    /// Takes all lists in again. What can't be read changes nothing.
    ///
    /// # Errors
    /// [`ListsError`], which is logged.
    pub async fn again(&self) -> Result<(), ListsError> {
        let taken = match self.take().await {
            Ok((_, read)) => read,
            Err(cause) => Err(ListsError::Store(cause)),
        };
        match &taken {
            Ok(()) => {}
            Err(ListsError::List { list, why }) => {
                warn!(list:%, why; "couldn't read the source list; nothing changes");
            }
            Err(ListsError::Store(cause)) => error!(cause:%; "couldn't apply the lists"),
        }
        taken
    }

    /// Reads all lists and settles what they say; with why there is nothing of the source list in that,
    /// where it couldn't be read.
    async fn take(&self) -> Result<(Settled, Result<(), ListsError>), StoreError> {
        let _turn = self.turn.lock().await;
        let (blocks, list) = (self.config.blocks.clone(), self.config.sources.clone());
        let (blocked_hosts, list) = smol::unblock(move || {
            (read_blocks(&blocks), list.map(|list| read(&list).map_err(|why| (list, why))))
        })
        .await;
        if let Err(why) = &blocked_hosts {
            warn!(why = why.as_str(); "couldn't read a block list; going on with what is known");
        }
        let now = self.hub.now();
        {
            let mut lists = self.hub.lists.borrow_mut();
            lists.note("block lists", now, blocked_hosts.as_ref().err().map(String::as_str));
            let why = list.as_ref().and_then(|it| it.as_ref().err()).map(|(_, why)| &**why);
            lists.note("source list", now, why);
            if matches!(list, Some(Ok(_))) {
                lists.read_at = Some(now);
            }
        }
        let blocked_hosts = blocked_hosts.ok();
        let (list, read) = match list.transpose() {
            Ok(list) => (list, Ok(())),
            Err((list, why)) => (None, Err(ListsError::List { list, why })),
        };
        for skipped in list.iter().flat_map(|list| &list.skipped) {
            let slug = skipped.slug.as_deref().unwrap_or("-");
            warn!(entry = skipped.index, slug, why = skipped.why.as_str(); "skipped an entry of the source list");
        }
        let sources = list.map(|list| list.sources);
        let settled = settle(&self.hub, Act::Listed { sources, blocked_hosts }).await?;
        if let Some(listed) = &settled.listed {
            let (diff, listed, held) = (&listed.diff, listed.listed, &listed.held);
            let (added, changed) = (diff.added.len(), diff.changed.len());
            let mut removed = diff.removed.len();
            if let Some(why) = held {
                warn!(removed, why = why.as_str(); "the source list is held; `held` lists what waits");
                removed = 0;
            }
            info!(listed, added, changed, removed; "source list applied");
        }
        Ok((settled, read))
    }
}

/// Takes all lists in after every pause. Of several arbiters on one database the first to come to it
/// does so for all, so their lists should be the same; the others learn what it kept.
pub async fn for_ever(lists: Rc<Lists>) {
    let hub = &lists.hub;
    let pause = lists.config.refresh;
    loop {
        Timer::after(pause).await;
        let now = hub.now();
        let turn =
            hub.store.call(move |store| store.take_turn("source list", pause / 2, now)).await;
        match turn {
            Ok(true) => drop(lists.again().await),
            Ok(false) => learn(hub).await,
            Err(cause) => error!(cause:%; "couldn't take the turn to read the lists"),
        }
    }
}

fn read_blocks(lists: &[ListAddress]) -> Result<BTreeSet<String>, String> {
    let mut hosts = BTreeSet::new();
    for list in lists {
        let mut text = Vec::new();
        let result = match list {
            ListAddress::File(path) => std::fs::File::open(path)
                .and_then(|file| file.take(READ_MAX).read_to_end(&mut text)),
            ListAddress::Url(url) => match download::open(url) {
                Ok(body) => body.take(READ_MAX).read_to_end(&mut text),
                Err(cause) => return Err(format!("block list {list}: {cause}")),
            },
        };
        result.map_err(|cause| format!("block list {list}: {cause}"))?;
        if text.len() as u64 > BLOCK_LIST_BYTES_MAX {
            return Err(format!("block list {list}: longer than {BLOCK_LIST_BYTES_MAX} bytes"));
        }
        let (found, skipped) =
            read_block_list(&text).map_err(|why| format!("block list {list}: {why}"))?;
        if skipped > 0 {
            warn!(list:%, skipped; "skipped entries of a block list that are no host");
        }
        hosts.extend(found);
    }
    Ok(hosts)
}

fn read(list: &ListAddress) -> Result<SourceList, String> {
    match list {
        ListAddress::File(path) => {
            let file = std::fs::File::open(path)
                .map_err(|cause| format!("{cause}; --sources names another"))?;
            sources::read(file).map_err(|cause| cause.to_string())
        }
        ListAddress::Url(url) => {
            let body = download::open(url).map_err(|cause| cause.to_string())?;
            sources::read(body).map_err(|cause| cause.to_string())
        }
    }
}
