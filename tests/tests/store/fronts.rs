//! What a claim finds by its index is what the rule chooses among all sources.

use super::*;
use canister_arbiter::rules::politeness::{May, may_grant};
use canister_arbiter::rules::schedule::{Due, choose};
use canister_protocol::limits::SLOTS_MAX;

/// Whom [`choose`] chooses for `peer`, by all that the store says.
fn chosen(
    store: &mut Store,
    peer: &str,
    slots: usize,
    now: Timestamp,
    terms: &Terms,
) -> Vec<String> {
    let states = store.sources().unwrap();
    let servers = store.servers().unwrap();
    let servers: HashMap<&str, _> = servers.iter().map(|it| (&*it.domain, it)).collect();
    let held = states.iter().filter_map(|it| it.lease.as_ref());
    let held = held.filter(|lease| lease.peer == peer).count();
    let due = states.iter().filter(|it| it.is_polled() && it.due_at <= now && it.lease.is_none());
    let due = due.map(|it| Due {
        slug: it.source.slug.clone(),
        operator: it.operator.clone(),
        domain: it.domain.clone(),
        due_at: it.due_at,
        is_announced: it.is_announced,
        is_known: it.last_contact.is_some(),
        ranking: it.source.ranking,
    });
    let may = |due: &Due| {
        let server = servers[&*due.domain];
        let may = may_grant(&server.operator, &server.distance, peer, now, &terms.politeness);
        may == May::Grant
    };
    let share = store.record(peer).unwrap().share(now, SLOTS_MAX);
    let slots = slots.min(share.saturating_sub(held));
    choose(due.collect(), slots, may).into_iter().map(|due| due.slug).collect()
}

both!(a_claim_grants_what_the_rule_chooses);
/// Sources of few domains, of which some come to share an address, are granted, finished, sent away,
/// announced, renamed and moved, while the clock goes on and at times back.
fn a_claim_grants_what_the_rule_chooses(kind: Kind) {
    let (seeds, steps) = match kind {
        Kind::Sqlite => (12, 150),
        Kind::Postgres => (3, 80),
    };
    let mut granted_in_all = 0;
    for seed in 0..seeds {
        let mut random = Random(seed);
        let mut fresh = Fresh::new(kind);
        let mut terms = patient();
        terms.audits.share = 0;
        // No peer loses any, and so is in doubt.
        terms.lease = Duration::from_secs(90 * 24 * 60 * 60);
        terms.lease_longest = terms.lease;
        let list = |random: &mut Random| -> Vec<Source> {
            (0..40)
                .map(|number| Source {
                    uri: format!("https://a{}.d{}.example/{number}", number % 3, random.below(9)),
                    ranking: 1 + random.below(5) as u8,
                    ..source(&format!("s{number}"))
                })
                .collect()
        };
        let first = list(&mut random);
        fresh.list(&first, at(0));
        let mut now = 10_000;
        let mut leases: Vec<(String, Grant)> = Vec::new();
        for step in 0..steps {
            let peer = ["p1", "p2", "p3"][random.below(3)];
            match random.below(12) {
                0..5 => {
                    let slots = 1 + random.below(5);
                    let expected = chosen(&mut fresh.store, peer, slots, at(now), &terms);
                    let granted = fresh.store.claim(peer, slots, at(now), &terms).unwrap();
                    let slugs: Vec<&str> = granted.iter().map(|it| &*it.source.slug).collect();
                    assert_eq!(slugs, expected, "seed {seed}, step {step}: {peer} wants {slots}");
                    granted_in_all += granted.len();
                    leases.extend(granted.into_iter().map(|grant| (peer.to_owned(), grant)));
                }
                5..9 if !leases.is_empty() => {
                    let (peer, grant) = leases.swap_remove(random.below(leases.len()));
                    let sent_away = Outcome::Failed {
                        kind: FailureKind::Status,
                        status: Some(429),
                        retry_after_secs: None,
                        reason: "read Release: 429".into(),
                    };
                    let outcome = match random.below(6) {
                        0 => sent_away,
                        _ => indexed(Counted::default()),
                    };
                    let ended =
                        fresh.store.finish(&peer, grant.token, &outcome, &cost(), at(now), &terms);
                    // Its source may have moved, or its time be over.
                    assert!(ended.is_ok() || ended.unwrap_err().is_refusal());
                }
                9 => {
                    let slug = format!("s{}", random.below(40));
                    fresh.store.announce_for_owner(&slug, None, at(now)).unwrap();
                }
                10 => {
                    let host = format!("a{}.d{}.example", random.below(3), random.below(9));
                    let address = [192, 0, 2, random.below(6) as u8].into();
                    fresh.store.locate(&host, &[address], at(now)).unwrap();
                }
                11 if random.below(6) == 0 => {
                    let next = list(&mut random);
                    fresh.list(&next[..20 + random.below(20)], at(now));
                }
                _ => {
                    now = match random.below(8) {
                        0 => now + 4000,
                        1 => now - 30,
                        _ => now + random.below(12) as u64,
                    };
                }
            }
        }
        fresh.check_laws();
    }
    assert!(granted_in_all > 50, "{granted_in_all}");
}

both!(the_operators_of_a_few_hosts_are_found_as_those_of_all);
fn the_operators_of_a_few_hosts_are_found_as_those_of_all(kind: Kind) {
    let mut random = Random(7);
    let mut fresh = Fresh::new(kind);
    let list: Vec<Source> = (0..30)
        .map(|number| Source {
            uri: format!("https://a{}.d{}.example/{number}", number % 4, number % 11),
            ..source(&format!("s{number}"))
        })
        .collect();
    fresh.list(&list, at(0));
    let steps = if kind == Kind::Sqlite { 120 } else { 40 };
    let mut merged = 0;
    for step in 0..steps {
        // Addresses come and, after a month, go.
        let now = at(step * 5 * 24 * 60 * 60 / 4);
        let host = format!("a{}.d{}.example", random.below(4), random.below(11));
        let address = [192, 0, 2, random.below(8) as u8].into();
        fresh.store.locate(&host, &[address], now).unwrap();
        let who = |fresh: &mut Fresh| -> Vec<(String, String)> {
            let states = fresh.store.sources().unwrap();
            states.into_iter().map(|it| (it.operator, it.domain)).collect()
        };
        let by_itself = who(&mut fresh);
        fresh.store.bring_forward(now, &terms()).unwrap();
        assert_eq!(by_itself, who(&mut fresh), "step {step}");
        merged += by_itself.iter().filter(|(operator, domain)| operator != domain).count();
    }
    assert!(merged > 0);
}
