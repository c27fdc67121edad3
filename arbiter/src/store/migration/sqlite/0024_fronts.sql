-- What is due first is found by an index: see `schedule::head_start`, which says the same numbers.
ALTER TABLE source ADD COLUMN head_start INTEGER GENERATED ALWAYS AS
    ((5 - ranking) * 3600000 + (last_contact IS NULL) * 86400000 + announced * 259200000) VIRTUAL;
-- The host of `uri`; filled when the arbiter starts.
ALTER TABLE source ADD COLUMN host TEXT NOT NULL DEFAULT '';

DROP INDEX source_due;
CREATE INDEX source_due ON source (due_at) WHERE polled;
CREATE INDEX source_front ON source (domain, head_start, due_at, slug) WHERE polled;
CREATE INDEX source_host ON source (host);
CREATE INDEX source_domain ON source (domain);
CREATE INDEX source_operator ON source (operator);
CREATE INDEX source_wanted ON source (due_at) WHERE wants IS NOT NULL;
CREATE INDEX source_owned ON source (due_at) WHERE owner_release IS NOT NULL OR owner_host IS NOT NULL;
CREATE INDEX operator_ended ON operator (last_lease_ended);
CREATE INDEX host_address_address ON host_address (address);

-- Of each domain and head start the polled source that is or was due first. Kept by the triggers below,
-- whoever writes sources.
CREATE TABLE front (
    number INTEGER NOT NULL PRIMARY KEY,
    domain TEXT NOT NULL,
    head_start INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    slug TEXT NOT NULL,
    operator TEXT NOT NULL,
    -- Hints that its operator has a lease, or since when it has none: so it isn't looked at in vain. Without
    -- them its operator may be free or not.
    leased INTEGER NOT NULL DEFAULT 0 CHECK (leased IN (0, 1)),
    rests_since INTEGER,
    UNIQUE (domain, head_start)
) STRICT;
CREATE INDEX front_due ON front (head_start, due_at, slug) WHERE NOT leased AND rests_since IS NULL;
CREATE INDEX front_rests ON front (rests_since) WHERE rests_since IS NOT NULL;
CREATE INDEX front_operator ON front (operator);

INSERT INTO front (domain, head_start, due_at, slug, operator)
SELECT domain, head_start, due_at, slug, operator FROM (
    SELECT domain, head_start, due_at, slug, operator,
        row_number() OVER (PARTITION BY domain, head_start ORDER BY due_at, slug) AS place
    FROM source WHERE polled)
WHERE place = 1;

CREATE TRIGGER front_come AFTER INSERT ON source BEGIN
    INSERT INTO front (domain, head_start, due_at, slug, operator)
    SELECT domain, head_start, due_at, slug, operator FROM source
    WHERE domain = new.domain AND head_start = new.head_start AND polled
    ORDER BY due_at, slug LIMIT 1
    ON CONFLICT (domain, head_start) DO UPDATE
    SET due_at = excluded.due_at, slug = excluded.slug, operator = excluded.operator,
        leased = leased AND operator = excluded.operator,
        rests_since = CASE WHEN operator = excluded.operator THEN rests_since END;
END;

CREATE TRIGGER front_moved
AFTER UPDATE OF domain, operator, due_at, ranking, last_contact, announced, listed, blocked, standing
ON source BEGIN
    INSERT INTO front (domain, head_start, due_at, slug, operator)
    SELECT domain, head_start, due_at, slug, operator FROM source
    WHERE domain = new.domain AND head_start = new.head_start AND polled
    ORDER BY due_at, slug LIMIT 1
    ON CONFLICT (domain, head_start) DO UPDATE
    SET due_at = excluded.due_at, slug = excluded.slug, operator = excluded.operator,
        leased = leased AND operator = excluded.operator,
        rests_since = CASE WHEN operator = excluded.operator THEN rests_since END;
    DELETE FROM front WHERE domain = new.domain AND head_start = new.head_start AND NOT EXISTS (
        SELECT 1 FROM source
        WHERE domain = new.domain AND head_start = new.head_start AND polled);
END;

CREATE TRIGGER front_left
AFTER UPDATE OF domain, ranking, last_contact, announced ON source
WHEN old.domain <> new.domain OR old.head_start <> new.head_start BEGIN
    UPDATE front SET (due_at, slug, operator) = (
        SELECT due_at, slug, operator FROM source
        WHERE domain = old.domain AND head_start = old.head_start AND polled
        ORDER BY due_at, slug LIMIT 1)
    WHERE domain = old.domain AND head_start = old.head_start AND EXISTS (
        SELECT 1 FROM source
        WHERE domain = old.domain AND head_start = old.head_start AND polled);
    DELETE FROM front WHERE domain = old.domain AND head_start = old.head_start AND NOT EXISTS (
        SELECT 1 FROM source
        WHERE domain = old.domain AND head_start = old.head_start AND polled);
END;

CREATE TRIGGER front_gone AFTER DELETE ON source BEGIN
    UPDATE front SET (due_at, slug, operator) = (
        SELECT due_at, slug, operator FROM source
        WHERE domain = old.domain AND head_start = old.head_start AND polled
        ORDER BY due_at, slug LIMIT 1)
    WHERE domain = old.domain AND head_start = old.head_start AND EXISTS (
        SELECT 1 FROM source
        WHERE domain = old.domain AND head_start = old.head_start AND polled);
    DELETE FROM front WHERE domain = old.domain AND head_start = old.head_start AND NOT EXISTS (
        SELECT 1 FROM source
        WHERE domain = old.domain AND head_start = old.head_start AND polled);
END;
