//! Which package index to fetch: the cheapest of those that Release lists, or what to try where it
//! lists none. A function of values.

use super::release::{FileDigest, ListedFile, Release};
use crate::compression::Compression;
use canister_protocol::Source;
use canister_protocol::message::Origin;

/// How much larger than its packed form a plain index is taken to be where Release doesn't say.
const RATIO_GUESSED: u64 = 5;
/// Most bytes that any format takes for a file of nothing, its name included.
const NOTHING_PACKED_BYTES_MAX: u64 = 64;
/// Most bytes of a plain index that can't have a package, for want of room for the three fields
/// without which there is none.
const NOTHING_PLAIN_BYTES_MAX: u64 = 32;

/// One file that may be the package index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its path below [`Source::release_dir`].
    pub path: String,
    /// Where the same bytes are by their digest, below the same; to be tried first.
    pub by_hash: Option<String>,
    /// How it is compressed, by its name.
    pub compression: Compression,
    /// What Release says of it.
    pub listed: Option<(u64, FileDigest)>,
    /// What Release says of what it unpacks to.
    pub plain: Option<(u64, FileDigest)>,
}

impl Candidate {
    /// Whether it may have packages, by what Release says of its size.
    pub fn may_have_packages(&self) -> bool {
        let least = match self.compression {
            Compression::Plain => NOTHING_PLAIN_BYTES_MAX,
            _ => NOTHING_PACKED_BYTES_MAX,
        };
        self.listed.as_ref().is_none_or(|(size, _)| *size > least)
    }
}

/// The files to try, best first; never empty.
///
/// Where Release lists the index, only what it lists counts, by cost. Cost is bytes over the wire
/// plus the decoder's work, both in bytes: a plain byte out of xz costs a peer about as much CPU
/// as a fifth of a byte costs it in line and the server in service; out of gz or zst, a fifth and a
/// sixth of that; out of bz2, two and a half times. So of equal files gz beats xz unless it is
/// much larger, and a tiny xz loses to a plain file never.
///
/// An empty file under a packed name is what a failed packer leaves, and no candidate unless there is
/// no other. An empty plain one comes last, and says nothing of what the packed ones unpack to:
/// where both are listed, clients of devices read the packed one.
///
/// What worked the last time comes first where nothing is listed, so that a source is probed once.
pub fn candidates(source: &Source, release: &Release, origin: Option<&Origin>) -> Vec<Candidate> {
    let plain_path = source.index_path();
    let path = |compression: Compression| format!("{plain_path}{}", compression.suffix());
    if release.indexes.is_empty() {
        let mut probed: Vec<_> = Compression::PROBED
            .into_iter()
            .map(|compression| Candidate {
                path: path(compression),
                by_hash: None,
                compression,
                listed: None,
                plain: None,
            })
            .collect();
        probed.sort_by_key(|candidate| origin.is_none_or(|was| was.index_path != candidate.path));
        return probed;
    }
    let directory = plain_path.strip_suffix("Packages").unwrap_or_default();
    let is_plain = |index: &&ListedFile| index.compression == Compression::Plain;
    let plain = release
        .indexes
        .iter()
        .find(|index| is_plain(index) && index.size > NOTHING_PLAIN_BYTES_MAX);
    let mut listed: Vec<_> = release.indexes.iter().collect();
    if listed.iter().any(|index| is_plain(index) || index.size > 0) {
        listed.retain(|index| is_plain(index) || index.size > 0);
    }
    listed.sort_by_key(|index| {
        let plain_bytes =
            plain.map_or_else(|| index.size.saturating_mul(RATIO_GUESSED), |plain| plain.size);
        let has_nothing = is_plain(index) && index.size <= NOTHING_PLAIN_BYTES_MAX;
        (has_nothing, index.size.saturating_add(work(index.compression, plain_bytes)))
    });
    let of = |index: &ListedFile| (index.size, index.digest.clone());
    listed
        .into_iter()
        .map(|index| Candidate {
            path: path(index.compression),
            by_hash: release.is_by_hash.then(|| {
                let FileDigest { algorithm, hex } = &index.digest;
                format!("{directory}by-hash/{}/{hex}", algorithm.field())
            }),
            compression: index.compression,
            listed: Some(of(index)),
            plain: plain.filter(|_| !is_plain(&index)).map(of),
        })
        .collect()
}

/// What unpacking costs, in bytes.
const fn work(compression: Compression, plain_bytes: u64) -> u64 {
    match compression {
        Compression::Bz2 => plain_bytes / 2,
        Compression::Gz => plain_bytes / 25,
        Compression::Lzma | Compression::Xz => plain_bytes / 5,
        Compression::Plain => 0,
        Compression::Zst => plain_bytes / 30,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::release::Algorithm;

    fn listed(compression: Compression, size: u64) -> ListedFile {
        let digest = FileDigest { algorithm: Algorithm::Sha256, hex: "ab".repeat(32) };
        ListedFile { compression, size, digest }
    }

    fn order(indexes: &[(Compression, u64)]) -> Vec<Compression> {
        let release = Release {
            indexes: indexes.iter().map(|(c, size)| listed(*c, *size)).collect(),
            ..Release::default()
        };
        let source = Source { suite: "./".into(), ..Source::default() };
        candidates(&source, &release, None).into_iter().map(|c| c.compression).collect()
    }

    #[test]
    fn the_cheapest_listed_comes_first() {
        use Compression::{Bz2, Gz, Lzma, Plain, Xz, Zst};
        // A distribution's main index: its sizes.
        assert_eq!(
            order(&[(Plain, 50_060_337), (Gz, 12_084_798), (Xz, 8_790_396)]),
            [Gz, Xz, Plain]
        );
        assert_eq!(
            order(&[(Xz, 39_360), (Lzma, 39_736), (Bz2, 41_023), (Zst, 42_508)]),
            [Zst, Xz, Lzma, Bz2]
        );
        assert_eq!(order(&[(Plain, 900), (Xz, 700)]), [Xz, Plain]);
        assert_eq!(order(&[(Plain, 900), (Xz, 800)]), [Plain, Xz]);
        assert_eq!(order(&[(Plain, u64::MAX), (Xz, u64::MAX)]).len(), 2);
    }

    #[test]
    fn an_empty_file_is_the_last_resort() {
        use Compression::{Bz2, Gz, Plain, Xz};
        assert_eq!(order(&[(Plain, 914), (Xz, 0), (Gz, 452)]), [Gz, Plain]);
        assert_eq!(order(&[(Xz, 0), (Bz2, 0)]), [Xz, Bz2]);
        assert_eq!(order(&[(Plain, 0), (Xz, 0)]), [Plain]);
        assert_eq!(order(&[(Plain, 0), (Bz2, 525)]), [Bz2, Plain]);
        assert_eq!(order(&[(Plain, 0), (Gz, 20)]), [Gz, Plain]);
        let of = |indexes: &[(Compression, u64)]| {
            let release = Release {
                indexes: indexes.iter().map(|(c, size)| listed(*c, *size)).collect(),
                ..Release::default()
            };
            let found = candidates(&Source::default(), &release, None);
            let said = |candidate: &Candidate| {
                let plain = candidate.plain.as_ref().map(|(size, _)| *size);
                (candidate.may_have_packages(), plain)
            };
            found.iter().map(said).collect::<Vec<_>>()
        };
        assert_eq!(of(&[(Plain, 914), (Gz, 452)]), [(true, Some(914)), (true, None)]);
        assert_eq!(of(&[(Plain, 0), (Gz, 452)]), [(true, None), (false, None)]);
        assert_eq!(of(&[(Plain, 1), (Gz, 20)]), [(false, None), (false, None)]);
        assert_eq!(of(&[]), [(true, None); 6]);
    }

    #[test]
    fn without_a_list_all_are_probed_what_worked_first() {
        let source = Source { suite: "./".into(), ..Source::default() };
        let paths = |origin: Option<&Origin>| -> Vec<String> {
            let found = candidates(&source, &Release::default(), origin);
            found.into_iter().map(|candidate| candidate.path).collect()
        };
        let all = [
            "Packages.zst",
            "Packages.xz",
            "Packages.bz2",
            "Packages.lzma",
            "Packages.gz",
            "Packages",
        ];
        assert_eq!(paths(None), all);
        let origin = Origin { index_path: "Packages.bz2".into(), ..Origin::default() };
        let first = paths(Some(&origin));
        assert_eq!((first[0].as_str(), first.len()), ("Packages.bz2", 6));
    }

    #[test]
    fn by_hash_is_offered_beside_the_index() {
        let source = Source {
            suite: "stable".into(),
            component: Some("main".into()),
            architecture: Some("amd64".into()),
            ..Source::default()
        };
        let release = Release {
            is_by_hash: true,
            indexes: vec![listed(Compression::Xz, 7)],
            ..Release::default()
        };
        let found = candidates(&source, &release, None).remove(0);
        assert_eq!(found.path, "main/binary-amd64/Packages.xz");
        let by_hash = format!("main/binary-amd64/by-hash/SHA256/{}", "ab".repeat(32));
        assert_eq!(found.by_hash, Some(by_hash));
    }
}
