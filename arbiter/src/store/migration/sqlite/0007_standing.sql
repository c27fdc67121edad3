-- How a source stands, who runs its server, what the operator ruled, and what is held.

-- Its host's domain, as a registry sold it; filled when the arbiter starts.
ALTER TABLE source ADD COLUMN domain TEXT NOT NULL DEFAULT '';
-- The first and the last attempt that failed by its fault since its last contact.
ALTER TABLE source ADD COLUMN failing_since INTEGER;
ALTER TABLE source ADD COLUMN last_failure INTEGER;
-- What failing made of it, and since when.
ALTER TABLE source ADD COLUMN standing TEXT NOT NULL DEFAULT 'active'
    CHECK (standing IN ('active', 'deactivated', 'delisted'));
ALTER TABLE source ADD COLUMN stood_at INTEGER;
-- The rule that blocks it, in words.
ALTER TABLE source ADD COLUMN blocked TEXT;
-- Whether it is to be asked, and whether the catalogue shows it.
ALTER TABLE source ADD COLUMN polled INTEGER GENERATED ALWAYS AS
    (listed AND blocked IS NULL AND (standing <> 'delisted' OR announced)) VIRTUAL;
ALTER TABLE source ADD COLUMN shown INTEGER GENERATED ALWAYS AS
    (listed AND blocked IS NULL AND standing = 'active') VIRTUAL;

-- Failures before this version: the best that is known of when they began.
UPDATE source SET failing_since = last_attempt, last_failure = last_attempt WHERE failures > 0;

-- How a domain's servers took us: refusals in a row, and until when everybody keeps away.
CREATE TABLE distance (
    domain TEXT NOT NULL PRIMARY KEY,
    refusals INTEGER NOT NULL CHECK (refusals >= 0),
    rests_until INTEGER
) STRICT, WITHOUT ROWID;

-- Peers that a domain's servers sent away, and until when they keep away.
CREATE TABLE cooling (
    domain TEXT NOT NULL,
    peer TEXT NOT NULL,
    refusals INTEGER NOT NULL CHECK (refusals > 0),
    until INTEGER NOT NULL,
    PRIMARY KEY (domain, peer)
) STRICT, WITHOUT ROWID;

-- Where hosts are, and when that was last seen. Hosts at one address have one operator.
CREATE TABLE host_address (
    host TEXT NOT NULL,
    address TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (host, address)
) STRICT, WITHOUT ROWID;

-- The operator's word on some sources, given by command.
CREATE TABLE ruling (
    entry TEXT NOT NULL PRIMARY KEY,
    allowed INTEGER NOT NULL CHECK (allowed IN (0, 1)),
    by_whom TEXT NOT NULL,
    ruled_at INTEGER NOT NULL,
    why TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The block lists as they were last read.
CREATE TABLE blocked_host (
    host TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Changes that the brake holds, and what the operator decided. The fingerprint names what would
-- change, so that the same change is known when it comes again.
CREATE TABLE held (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('source list', 'policy', 'source')),
    slug TEXT,
    fingerprint TEXT NOT NULL UNIQUE,
    why TEXT NOT NULL,
    held_at INTEGER NOT NULL,
    decided TEXT CHECK (decided IN ('accepted', 'rejected')),
    decided_by TEXT,
    decided_at INTEGER
) STRICT;

-- Packages that left, to find those that are to be deleted.
CREATE INDEX package_left ON package (left_at) WHERE left_at IS NOT NULL;

-- Two more ways in which a lease can end: a table's checks can't be changed in place.
CREATE TABLE attempt_new (
    number INTEGER NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL REFERENCES source (slug),
    token INTEGER NOT NULL,
    peer TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('indexed', 'unchanged', 'source failed',
        'peer failed', 'given back', 'expired', 'revoked', 'held', 'sent away')),
    requests INTEGER NOT NULL,
    bytes_fetched INTEGER NOT NULL,
    bytes_plain INTEGER NOT NULL,
    millis INTEGER NOT NULL,
    packages INTEGER NOT NULL,
    put INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    error TEXT
) STRICT;
INSERT INTO attempt_new SELECT * FROM attempt;
DROP TABLE attempt;
ALTER TABLE attempt_new RENAME TO attempt;
CREATE INDEX attempt_source ON attempt (slug, number);
