//! `import`: reads what others know of sources and hands it to the running arbiter.

use super::ask::{Arbiter, Ask, user};
use argh::{ArgsInfo, FromArgs};
use canister_arbiter::apt_sources;
use canister_arbiter::deeds::download;
use canister_arbiter::doors::admin::{ImportReport, Request};
use canister_arbiter::report;
use canister_arbiter::rules::exchange::{SharedSources, ToldSource};
use canister_arbiter::rules::sources::LIST_BYTES_MAX;
use canister_link::usage::{Failure, Said};
use std::fs::File;
use std::io::Read;

/// Take in sources, heads and blocks of another arbiter, an IPNI indexer, or apt's own files. What is known
/// here stays as it is.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "import")]
pub(crate) struct Import {
    /// only say what would be done
    #[argh(switch)]
    dry_run: bool,
    /// another arbiter's public listener (https://HOST, which means its /sources.json), an IPNI indexer's
    /// https://HOST/providers, a source list, or a file of one of these; or a file of apt's (.list, .sources)
    #[argh(positional)]
    from: String,
}

impl Ask for Import {
    fn ask(self, arbiter: &Arbiter) -> Said {
        let failed = |why: String| Failure::Failed(format!("import {}: {why}", self.from));
        let document = told(&self.from).map_err(failed)?.to_json("");
        let (from, by, is_dry) = (self.from.clone(), user(), self.dry_run);
        let request = Request::Import { document, from, by, is_dry };
        let found: ImportReport = arbiter.ask(&request)?;
        arbiter.show(&found, |found| report::imported(found, is_dry))
    }
}

fn told(from: &str) -> Result<SharedSources, String> {
    let Some((_, rest)) = from.split_once("://") else {
        let file = File::open(from).map_err(|cause| cause.to_string())?;
        let bytes = bytes(file)?;
        if matches!(bytes.trim_ascii_start().first(), Some(b'[' | b'{')) && !from.ends_with(".list")
        {
            return SharedSources::read(&bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        let (sources, unusable) = apt_sources::of_text(&text, from.ends_with(".sources"));
        if sources.is_empty() && unusable.is_empty() {
            return Err("it has no source: neither JSON nor lines of apt's".to_owned());
        }
        return Ok(SharedSources {
            sources: sources
                .into_iter()
                .map(|source| ToldSource { source, ..ToldSource::default() })
                .collect(),
            skipped: unusable.iter().map(|it| format!("{}: {}", it.what, it.why)).collect(),
            ..SharedSources::default()
        });
    };
    let is_bare = rest.trim_end_matches('/') == rest.split('/').next().unwrap_or_default();
    let url = match is_bare {
        true => format!("{}/sources.json", from.trim_end_matches('/')),
        false => from.to_owned(),
    };
    SharedSources::read(&bytes(download::open(&url)?)?)
}

/// All of it, and one byte more than may be.
fn bytes(from: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = from.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|cause| cause.to_string())?;
    Ok(bytes)
}
