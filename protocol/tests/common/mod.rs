//! Messages to test with, and seeded chance.

#![allow(dead_code, reason = "each test file uses its part")]

mod random;

use canister_protocol::address::AddressFamilies;
use canister_protocol::limits::*;
use canister_protocol::message::{
    Cost, Counts, Facts, FailureKind, NextSigners, Origin, Outcome, OwnerFound, PROBES, Paths,
    PeerWish, PlannedHost, Price, Probed, ReleaseSignature, SignatureState,
};
use canister_protocol::owner::OWNER_BYTES_MAX;
use canister_protocol::publisher::{NamedPublisher, PublishedHead};
use canister_protocol::{Digest, Head, PackageRow, Rows, Source, ToArbiter, ToPeer};
pub(crate) use random::Random;

impl Random {
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Texts that a field without a form of its own may hold.
pub(crate) const TEXTS: &[&str] = &[
    "",
    "x",
    "null",
    "\"\\/\t",
    "\\u0041\\",
    "// no comment /* */",
    "{\"Offer\":{\"slots\":1}}",
    "ä € 😀 \u{2028}\u{feff}\u{10ffff}\u{e000}\u{a0}",
];

pub(crate) const TOKENS: &[u64] = &[0, 1, 1 << 53, u64::MAX];

pub(crate) fn head() -> String {
    Head::from_sha256([0xa5; 32]).to_string()
}

pub(crate) fn row() -> PackageRow {
    PackageRow {
        package_id: "com.example.a".into(),
        version: "1.0-1".into(),
        architecture: "iphoneos-arm64".into(),
        package_filename: "debs/a_1.0-1.deb".into(),
        package_size: 12_345,
        price: "Free".into(),
        tags: vec!["role::enduser".into(), "purpose::extension".into()],
        ..PackageRow::default()
    }
}

pub(crate) fn full_row(text: &str, number: u64) -> PackageRow {
    let some = || Some(text.to_owned());
    PackageRow {
        package_id: format!("a{text}"),
        version: format!("1{text}"),
        architecture: format!("x{text}"),
        package_filename: text.into(),
        package_size: number,
        price: format!("Paid{text}"),
        sha256_hash: some(),
        name: some(),
        description: some(),
        author: some(),
        maintainer: some(),
        depiction: some(),
        native_depiction: some(),
        sileo_depiction: some(),
        header_url: some(),
        tint_color: some(),
        icon_url: some(),
        section: some(),
        tags: vec![text.into(), String::new(), text.into()],
        installed_size: Some(number),
    }
}

pub(crate) fn flat() -> Source {
    Source {
        slug: "a".into(),
        uri: "http://a".into(),
        suite: "./".into(),
        ranking: 1,
        ..Source::default()
    }
}

pub(crate) fn dists() -> Source {
    Source {
        slug: "A-Z_a.z+9".into(),
        uri: "https://[::1]:8443/apt/\"".into(),
        suite: "ios/1443.00".into(),
        component: Some("main".into()),
        architecture: Some("iphoneos-arm".into()),
        ranking: 5,
        aliases: vec!["b".into(), String::new(), "c".repeat(NAME_BYTES_MAX)],
        bootstrap: true,
        headers: vec!["X-Machine: \"\\".into()],
    }
}

pub(crate) fn origin(text: &str) -> Origin {
    Origin {
        head: head(),
        release_path: "InRelease".into(),
        etag: Some(format!("\"{}\"", visible(text))),
        last_modified: Some("Sat, 11 Jul 2026 10:16:37 GMT".into()),
        index_path: "Packages.xz".into(),
        index_digest: "sha256:00".into(),
    }
}

pub(crate) fn facts(text: &str) -> Facts {
    let some = || Some(text.to_owned());
    Facts {
        name: some(),
        version: some(),
        description: some(),
        date: Some(u64::MAX),
        payment_gateway: some(),
        payment_endpoint: Some("https://shop.example/".into()),
        signature: Some(signature()),
        absent: PROBES.map(str::to_owned).to_vec(),
        has_in_release: true,
        has_release_gpg: true,
    }
}

fn signature() -> ReleaseSignature {
    ReleaseSignature {
        state: SignatureState::Unverifiable,
        ends: Some(u64::MAX),
        keys: Some("aA0+/=".into()),
        named: "0123456789ABCDEF".into(),
        key: "F".repeat(64),
        next: Some(NextSigners {
            keys: vec![format!("{}!", "0".repeat(64)); NEXT_SIGNERS_MAX],
            until: u64::MAX,
        }),
    }
}

fn probed() -> Probed {
    let ReleaseSignature { keys, key, .. } = signature();
    let absent = PROBES.map(str::to_owned).to_vec();
    Probed { absent, signer: key, keys: keys.unwrap_or_default() }
}

fn outcomes(text: &str) -> Vec<Outcome> {
    let number = u64::MAX;
    let counts = Counts {
        packages: number,
        known: number,
        put: number,
        dropped: number,
        skipped: number,
        first_skipped: text.into(),
        oddities: Some(text.into()),
    };
    vec![
        Outcome::Indexed { origin: origin(text), facts: facts(text), counts },
        Outcome::Indexed {
            origin: Origin { head: head(), ..Origin::default() },
            facts: Facts::default(),
            counts: Counts::default(),
        },
        Outcome::Audited {
            origin: origin(text),
            counts: Counts::default(),
            doubles: vec![canister_protocol::row::id_of(number.into())],
            commitment: "0a".repeat(32),
        },
        Outcome::Unchanged { origin: origin(text), facts: None },
        Outcome::Unchanged { origin: origin(text), facts: Some(facts(text)) },
        Outcome::Failed {
            kind: FailureKind::Status,
            retry_after_secs: Some(RETRY_AFTER_SECS_MAX),
            status: Some(599),
            reason: text.into(),
        },
        Outcome::Failed {
            kind: FailureKind::Peer,
            retry_after_secs: None,
            status: None,
            reason: String::new(),
        },
    ]
}

pub(crate) fn digests(count: usize) -> Vec<Digest> {
    vec![Digest(*b"\x00\xff0123456789abcd"); count]
}

/// Each variant of what a peer says, with small values of every kind.
pub(crate) fn to_arbiter() -> Vec<ToArbiter> {
    let mut messages = vec![
        ToArbiter::Offer { reaches: None, bytes: None, slots: 0 },
        ToArbiter::Offer {
            reaches: Some(AddressFamilies::BOTH),
            bytes: None,
            slots: SLOTS_MAX as u32,
        },
        ToArbiter::Offer {
            reaches: Some(AddressFamilies { v4: true, v6: false }),
            bytes: Some(1),
            slots: 1,
        },
        ToArbiter::Writes { direct: true, reason: String::new() },
        ToArbiter::Renew { leases: vec![] },
        ToArbiter::Put {
            lease: 1,
            number: 1,
            rows: Rows::of(&[row(), row(), full_row("", 0), full_row("y", i64::MAX as u64)]),
        },
        ToArbiter::Known { lease: 1, after: Digest::join(&digests(1)) },
        ToArbiter::Dropped { lease: 1, number: 1, digests: digests(3) },
    ];
    for &lease in TOKENS {
        messages.extend([
            ToArbiter::Renew { leases: vec![lease, 7] },
            ToArbiter::Known { lease, after: String::new() },
            ToArbiter::Discard { lease, number: lease },
            ToArbiter::GiveBack { lease },
            ToArbiter::Leave {},
            ToArbiter::Announce { cid: None, named: "chariz".into() },
            ToArbiter::Announce { cid: Some(head()), named: "https://repo.example/".into() },
            ToArbiter::Prices { lease, number: lease, prices: vec![] },
            ToArbiter::Plan {
                protocol: 1,
                never: Some(vec!["repo.example".into()]),
                reaches: Some(AddressFamilies::BOTH),
                bytes: Some(lease),
                hours: 168,
            },
            ToArbiter::Plan { protocol: 1, never: None, reaches: None, bytes: None, hours: 1 },
        ]);
    }
    for &text in TEXTS {
        messages.push(ToArbiter::Hello {
            protocol: PROTOCOL,
            mapping: Some(u32::MAX),
            public_name: Some("Anna \u{e9}".into()),
            never: Some(vec!["repo.example".into(), "2001:db8::/32".into()]),
            obeys: Some(false),
            agent: text.into(),
            leases: TOKENS.to_vec(),
        });
        messages.push(ToArbiter::Renewal { request: text.into() });
        messages.push(ToArbiter::Writes { direct: false, reason: text.into() });
        messages.push(ToArbiter::Put { lease: 1, number: 2, rows: Rows::of(&[full_row(text, 1)]) });
        messages.push(ToArbiter::Priced { lease: 1, after: text.into() });
        messages.push(ToArbiter::Prices {
            lease: 1,
            number: 3,
            prices: vec![Price { package_id: format!("p{text}"), price: format!("$1{text}") }],
        });
        messages.extend(outcomes(text).into_iter().map(|outcome| ToArbiter::Finish {
            lease: 3,
            outcome,
            owner: Some(OwnerFound {
                release: None,
                host: Some("Interval: 6h\nIndex: no\n".into()),
                published: Some(PublishedHead { is_all: true, head: text.into() }),
                max_age_secs: 86_400,
            }),
            cost: Cost { requests: 2, bytes_fetched: u64::MAX, ..Cost::default() },
        }));
    }
    messages
}

/// Each variant of what an arbiter says, with small values of every kind.
pub(crate) fn to_peer() -> Vec<ToPeer> {
    let mut messages = vec![
        ToPeer::Draining {},
        ToPeer::Left { is_revoked: true },
        ToPeer::Renewed { leases: vec![] },
        ToPeer::Digests { lease: 1, digests: vec![], more: false },
        ToPeer::Digests { lease: 1, digests: digests(3), more: true },
    ];
    for &lease in TOKENS {
        messages.extend([
            ToPeer::Renewed { leases: vec![lease] },
            ToPeer::Taken { lease, number: lease },
            ToPeer::Finished { lease },
        ]);
    }
    for &text in TEXTS {
        let reason = || text.to_owned();
        messages.extend([
            ToPeer::Welcome {
                protocol: PROTOCOL,
                arbiter: text.into(),
                peer: text.into(),
                leases: TOKENS.to_vec(),
                lease_secs: 86_400,
            },
            ToPeer::Welcome {
                protocol: PROTOCOL,
                arbiter: text.into(),
                peer: text.into(),
                leases: vec![],
                lease_secs: 1,
            },
            ToPeer::Grant {
                lease: 1,
                audit: None,
                paths: None,
                bytes_max: None,
                looks: None,
                owner: None,
                publisher: None,
                request: None,
                source: flat(),
                origin: None,
                pause_millis: None,
                probed: None,
                operator: None,
                retry: None,
            },
            ToPeer::Grant {
                lease: 1,
                audit: Some(true),
                paths: Some(Paths { release_path: "Release".into(), ..Paths::default() }),
                source: dists(),
                origin: Some(origin(text)),
                retry: Some(u32::MAX),
                bytes_max: Some(u64::MAX),
                looks: Some(true),
                owner: Some(true),
                publisher: Some(NamedPublisher { uri: text.into(), head: text.into() }),
                request: Some("7".repeat(REQUEST_ID_BYTES_MAX)),
                pause_millis: Some(PAUSE_MILLIS_MAX),
                probed: Some(probed()),
                operator: Some(text.into()),
            },
            ToPeer::Grant {
                lease: 1,
                audit: Some(false),
                paths: Some(Paths::default()),
                source: flat(),
                bytes_max: Some(0),
                looks: Some(false),
                owner: Some(true),
                publisher: Some(NamedPublisher::default()),
                request: Some("7".repeat(REQUEST_ID_BYTES_MAX)),
                probed: Some(Probed::default()),
                operator: Some(String::new()),
                retry: None,
                pause_millis: Some(0),
                origin: Some(Origin { etag: None, last_modified: None, ..origin(text) }),
            },
            ToPeer::PricedIds { lease: 1, packages: vec![text.into(), String::new()], more: true },
            ToPeer::Planned {
                planned: vec![PlannedHost {
                    operator: text.into(),
                    polls: 2,
                    ..PlannedHost::default()
                }],
                left_out: 3,
            },
            ToPeer::Refused { lease: 1, reason: reason() },
            ToPeer::Revoked { lease: 1, reason: reason() },
            ToPeer::Certificate { chain: reason() },
            ToPeer::NoCertificate { reason: reason(), again_secs: 1 },
            ToPeer::Record { leases: 1, rests_secs: 86_400, reason: reason() },
            ToPeer::Wish { what: PeerWish::Drain, why: reason() },
            ToPeer::Wish { what: PeerWish::Stop, why: String::new() },
        ]);
    }
    messages
}

/// `bytes` bytes, every one of which JSON escapes to two.
fn escaped(bytes: usize) -> String {
    "\"\\\t".chars().cycle().take(bytes).collect()
}

/// The longest message of each kind whose length has a bound worth proving.
pub(crate) fn longest_to_arbiter() -> Vec<ToArbiter> {
    let number = i64::MAX as u64;
    // The most rows with the most tags; all texts that can be are absent or empty, and what the
    // batch may hold of them stands in one row and in the price of the others.
    let tags = vec![String::new(); ROW_TAGS_MAX];
    let bare = |text: String| PackageRow {
        package_id: "\"".into(),
        version: "\"".into(),
        architecture: "\"".into(),
        price: text,
        tags: tags.clone(),
        ..full_row("", number)
    };
    let long = escaped(ROW_BYTES_MAX - 3);
    let mut rows = vec![bare(long)];
    let mut room = PUT_BYTES;
    while rows.len() < PUT_ROWS_MAX {
        let left = PUT_ROWS_MAX - rows.len();
        let text = escaped(room / left - 3);
        room -= text.len() + 3;
        rows.push(bare(text));
    }
    let text = escaped(TEXT_BYTES_MAX);
    let origin = longest_origin();
    let keys = Some("/".repeat(KEYS_TEXT_BYTES_MAX));
    let longest_signature = ReleaseSignature { keys, ..signature() };
    vec![
        ToArbiter::Put { lease: u64::MAX, number: u64::MAX, rows: Rows::of(&rows) },
        ToArbiter::Dropped { lease: u64::MAX, number: u64::MAX, digests: digests(DIGESTS_MAX) },
        ToArbiter::Prices {
            lease: u64::MAX,
            number,
            prices: vec![
                Price {
                    package_id: escaped(PRICED_ID_BYTES_MAX),
                    price: escaped(PRICE_BYTES_MAX),
                };
                PRICES_MAX
            ],
        },
        ToArbiter::Hello {
            protocol: u32::MAX,
            mapping: Some(u32::MAX),
            public_name: Some(escaped(PUBLIC_NAME_BYTES_MAX)),
            never: Some(vec!["a.".repeat(126); VETO_MAX]),
            obeys: Some(true),
            agent: text.clone(),
            leases: vec![u64::MAX; SLOTS_MAX],
        },
        ToArbiter::Renewal { request: escaped(REQUEST_BYTES_MAX) },
        ToArbiter::Finish {
            lease: u64::MAX,
            outcome: Outcome::Audited {
                origin: longest_origin(),
                counts: Counts { first_skipped: text.clone(), ..Counts::default() },
                doubles: vec![canister_protocol::row::id_of(u128::MAX); DOUBLES_MAX],
                commitment: "f".repeat(64),
            },
            owner: Some(longest_owner()),
            cost: Cost::default(),
        },
        ToArbiter::Finish {
            lease: u64::MAX,
            outcome: Outcome::Unchanged {
                origin,
                facts: Some(Facts { signature: Some(longest_signature), ..facts(&text) }),
            },
            owner: Some(longest_owner()),
            cost: Cost::default(),
        },
    ]
}

/// What of a text may stand in an ETag.
fn visible(text: &str) -> String {
    text.chars().filter(|letter| *letter != '"' && letter.is_ascii_graphic()).collect()
}

fn longest_owner() -> OwnerFound {
    let said = Some("\"\\".repeat(OWNER_BYTES_MAX / 2));
    let head = "\"\\".repeat(SIGNED_HEAD_BYTES_MAX / 2);
    let published = Some(PublishedHead { is_all: false, head });
    OwnerFound { release: said.clone(), host: said, published, max_age_secs: 86_400 }
}

fn longest_origin() -> Origin {
    let path = "\"\\".repeat(URI_BYTES_MAX / 2);
    let validator = format!("\"{}\"", "\\".repeat(NAME_BYTES_MAX - 2));
    Origin {
        head: head(),
        release_path: "InRelease".into(),
        etag: Some(validator),
        last_modified: Some("Sat, 11 Jul 2026 10:16:37 GMT".into()),
        index_path: path.clone(),
        index_digest: path,
    }
}

/// As [`longest_to_arbiter`].
pub(crate) fn longest_to_peer() -> Vec<ToPeer> {
    let name = || "\"".repeat(NAME_BYTES_MAX);
    vec![
        ToPeer::Certificate { chain: escaped(CHAIN_BYTES_MAX) },
        ToPeer::NoCertificate { reason: escaped(TEXT_BYTES_MAX), again_secs: 86_400 },
        ToPeer::Record {
            leases: SLOTS_MAX as u32,
            rests_secs: 86_400,
            reason: escaped(TEXT_BYTES_MAX),
        },
        ToPeer::Wish { what: PeerWish::Restart, why: escaped(TEXT_BYTES_MAX) },
        ToPeer::Digests { lease: u64::MAX, digests: digests(DIGESTS_MAX), more: false },
        ToPeer::PricedIds {
            lease: u64::MAX,
            packages: vec![escaped(PRICED_ID_BYTES_MAX); PRICES_MAX],
            more: false,
        },
        ToPeer::Planned {
            planned: vec![
                PlannedHost {
                    operator: "a".repeat(NAME_BYTES_MAX),
                    host: "a".repeat(NAME_BYTES_MAX),
                    sources: u64::MAX,
                    polls: u64::MAX,
                };
                PLANNED_MAX
            ],
            left_out: u32::MAX,
        },
        ToPeer::Grant {
            lease: u64::MAX,
            audit: Some(false),
            paths: Some(Paths {
                release_path: "InRelease".into(),
                index_path: longest_origin().index_path,
            }),
            retry: Some(u32::MAX),
            publisher: Some(NamedPublisher { uri: "\"".repeat(URI_BYTES_MAX), head: name() }),
            source: Source {
                slug: "a".repeat(SLUG_BYTES_MAX),
                uri: format!("https://a/{}", "\"".repeat(URI_BYTES_MAX - 10)),
                suite: name(),
                component: Some(name()),
                architecture: Some(name()),
                ranking: 5,
                aliases: vec![name(); ALIASES_MAX],
                headers: vec![format!("X-Machine:{}", "\"".repeat(NAME_BYTES_MAX - 10)); 3],
                bootstrap: false,
            },
            origin: Some(longest_origin()),
            operator: Some(name()),
            bytes_max: Some(u64::MAX),
            looks: Some(true),
            owner: Some(true),
            request: Some("7".repeat(REQUEST_ID_BYTES_MAX)),
            pause_millis: Some(PAUSE_MILLIS_MAX),
            probed: Some(Probed { keys: "/".repeat(KEYS_TEXT_BYTES_MAX), ..probed() }),
        },
        ToPeer::Welcome {
            protocol: u32::MAX,
            arbiter: escaped(TEXT_BYTES_MAX),
            peer: escaped(NAME_BYTES_MAX),
            leases: vec![u64::MAX; SLOTS_MAX],
            lease_secs: 1,
        },
    ]
}
