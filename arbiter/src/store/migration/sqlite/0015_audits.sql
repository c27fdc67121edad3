-- Second readings of what was published, and whom the network believes.

-- How far a peer is believed; those that published before this version are proven.
ALTER TABLE peer ADD COLUMN trust TEXT NOT NULL DEFAULT 'first'
    CHECK (trust IN ('first', 'probation', 'proven', 'suspended'));
UPDATE peer SET trust = 'proven' WHERE finished > 0;
-- Why it is suspended, and since when.
ALTER TABLE peer ADD COLUMN trust_why TEXT NOT NULL DEFAULT '';
ALTER TABLE peer ADD COLUMN trust_since INTEGER;
-- Where it last came from, and the version of its row mapping.
ALTER TABLE peer ADD COLUMN network TEXT NOT NULL DEFAULT '';
ALTER TABLE peer ADD COLUMN mapping INTEGER;
-- Its publications and its audits that were confirmed; when an audit of one of the first was last
-- asked for.
ALTER TABLE peer ADD COLUMN confirmed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE peer ADD COLUMN audits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE peer ADD COLUMN asked_at INTEGER;
-- Changes that others found right after it was there, since it last found one itself.
ALTER TABLE peer ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;

ALTER TABLE lease ADD COLUMN kind TEXT NOT NULL DEFAULT 'index'
    CHECK (kind IN ('audit', 'index', 'reread'));

-- What a source's next lease is for, where it isn't to index, and by whom it is not to be done.
ALTER TABLE source ADD COLUMN wants TEXT CHECK (wants IN ('audit', 'reread'));
ALTER TABLE source ADD COLUMN not_by TEXT NOT NULL DEFAULT '[]' CHECK (json_type(not_by) = 'array');
ALTER TABLE source ADD COLUMN checked_at INTEGER;
ALTER TABLE source ADD COLUMN vouched_by TEXT;
-- The newest publication for which its index was read.
ALTER TABLE source ADD COLUMN rows_from INTEGER;
UPDATE source SET rows_from = publication,
    checked_at = (SELECT published_at FROM publication WHERE lease = source.publication),
    vouched_by = (SELECT peer FROM publication WHERE lease = source.publication);

ALTER TABLE publication ADD COLUMN network TEXT NOT NULL DEFAULT '';
ALTER TABLE publication ADD COLUMN mapping INTEGER;
ALTER TABLE publication ADD COLUMN confirmed_at INTEGER;
-- Whether the next one, of another peer, had the head of the one before again.
ALTER TABLE publication ADD COLUMN undone INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1));
CREATE INDEX publication_peer ON publication (peer, number);

-- The chance of who audits what: nobody is to foretell it.
ALTER TABLE feed ADD COLUMN seed INTEGER NOT NULL DEFAULT 0;
UPDATE feed SET seed = random() & 0x7fffffffffffffff;

-- Readings of one index that differ.
CREATE TABLE dispute (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    slug TEXT NOT NULL REFERENCES source (slug),
    -- The publication that is in dispute, by its lease.
    publication INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    -- Ids that are left out of all commitments.
    doubles TEXT NOT NULL CHECK (json_type(doubles) = 'array'),
    closed_at INTEGER,
    -- What came of it, in words.
    ruling TEXT
) STRICT;
CREATE INDEX dispute_source ON dispute (slug, number);

CREATE TABLE reading (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    dispute INTEGER NOT NULL REFERENCES dispute (number) ON DELETE CASCADE,
    peer TEXT NOT NULL,
    network TEXT NOT NULL,
    mapping INTEGER,
    head TEXT NOT NULL,
    index_path TEXT NOT NULL,
    index_digest TEXT NOT NULL,
    commitment TEXT NOT NULL,
    read_at INTEGER NOT NULL
) STRICT;
CREATE INDEX reading_dispute ON reading (dispute, number);

-- Rows that a reread found otherwise: what the catalogue had, and what it has now.
CREATE TABLE evidence (
    dispute INTEGER NOT NULL REFERENCES dispute (number) ON DELETE CASCADE,
    had INTEGER NOT NULL CHECK (had IN (0, 1)),
    id TEXT NOT NULL,
    package_id TEXT NOT NULL,
    version TEXT NOT NULL,
    architecture TEXT NOT NULL,
    package_filename TEXT NOT NULL,
    sha256_hash TEXT,
    digest BLOB NOT NULL
) STRICT;
CREATE INDEX evidence_dispute ON evidence (dispute);

-- One more way in which a lease can end. Verdicts are checked by who reads them: a table's checks
-- can't be changed in place.
CREATE TABLE attempt_new (
    number INTEGER NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL REFERENCES source (slug),
    token INTEGER NOT NULL,
    peer TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    verdict TEXT NOT NULL,
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
