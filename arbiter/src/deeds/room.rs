//! Looks at the room on the disk of the embedded store: gives up the reserve where it runs out, so that
//! the store can tidy up, has nothing granted then, and goes on by itself when there is room again.

use crate::hub::Hub;
use crate::rules::room::Disk;
use log::{error, info, warn};
use rustix::fs::{FallocateFlags, fallocate};
use smol::Timer;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The reserve's name beside the database.
pub const RESERVE_NAME: &str = "reserve";
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks for ever; the reserve is in `folder`.
pub async fn for_ever(hub: Rc<Hub>, folder: PathBuf) {
    let reserve = folder.join(RESERVE_NAME);
    loop {
        match hub.store.call(|store| store.disk()).await {
            Ok(Some(disk)) => look(&hub, &disk, &reserve),
            Ok(None) => return,
            Err(cause) => error!(cause:%; "couldn't look how much room there is"),
        }
        Timer::after(LOOK_EVERY).await;
    }
}

fn look(hub: &Hub, disk: &Disk, reserve: &Path) {
    hub.disk.set(Some(*disk));
    let is_full = disk.is_full(hub.is_full.get());
    if is_full != hub.is_full.replace(is_full) {
        let (free, whole) = (disk.free, disk.whole);
        if is_full {
            error!(free, whole; "the disk is full: nothing is granted until there is room");
        } else {
            info!(free, whole; "there is room again: it goes on");
        }
        hub.wake();
    }
    let done = if disk.is_short() {
        std::fs::remove_file(reserve).map(|()| warn!("gave up the reserve on the disk"))
    } else if !is_full && !reserve.exists() && disk.free > 4 * disk.reserve() {
        make(reserve, disk.reserve())
    } else {
        Ok(())
    };
    if let Err(cause) = done.or_else(ignore_missing) {
        warn!(path:% = reserve.display(), cause:%; "couldn't keep a reserve on the disk");
    }
}

fn ignore_missing(cause: io::Error) -> io::Result<()> {
    if cause.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(cause) }
}

/// A file of so many bytes that are really there.
fn make(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::create(path)?;
    Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?)
}
