-- The catalogue, as the Canister API reads it: names are fixed by others, types are SQLite's for
-- theirs. Arrays are JSON arrays, booleans 0 or 1, timestamps 'YYYY-MM-DD HH:MM:SS' in UTC.
-- Columns of the arbiter's own stand last in each table; its moments are milliseconds since 1970.

CREATE TABLE repository (
    id TEXT NOT NULL PRIMARY KEY,
    aliases TEXT NOT NULL CHECK (json_type(aliases) = 'array'),
    visible INTEGER NOT NULL CHECK (visible IN (0, 1)),
    quality INTEGER NOT NULL CHECK (quality BETWEEN 1 AND 5),
    package_count INTEGER NOT NULL CHECK (package_count >= 0),
    sections TEXT NOT NULL CHECK (json_type(sections) = 'array'),
    bootstrap INTEGER NOT NULL CHECK (bootstrap IN (0, 1)),
    uri TEXT NOT NULL,
    suite TEXT NOT NULL,
    component TEXT,
    name TEXT,
    version TEXT,
    description TEXT,
    date TEXT CHECK (date LIKE '____-__-__ __:__:__'),
    payment_gateway TEXT,
    sileo_endpoint TEXT,
    origin_hostname TEXT NOT NULL,
    origin_release_path TEXT NOT NULL,
    origin_release_hash TEXT NOT NULL,
    origin_packages_path TEXT NOT NULL,
    origin_packages_hash TEXT NOT NULL,
    origin_last_updated TEXT NOT NULL CHECK (origin_last_updated LIKE '____-__-__ __:__:__'),
    origin_has_in_release INTEGER NOT NULL CHECK (origin_has_in_release IN (0, 1)),
    origin_has_release_gpg INTEGER NOT NULL CHECK (origin_has_release_gpg IN (0, 1)),
    origin_supports_payment_v1 INTEGER NOT NULL CHECK (origin_supports_payment_v1 IN (0, 1)),
    origin_supports_payment_v2 INTEGER NOT NULL CHECK (origin_supports_payment_v2 IN (0, 1)),
    origin_uses_https INTEGER NOT NULL CHECK (origin_uses_https IN (0, 1))
) STRICT;

CREATE TABLE package (
    -- What package_search calls the row. Explicit, because VACUUM may renumber rows without one.
    number INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 26),
    package_id TEXT NOT NULL CHECK (package_id <> ''),
    latest_version INTEGER NOT NULL CHECK (latest_version IN (0, 1)),
    visible INTEGER NOT NULL CHECK (visible IN (0, 1)),
    quality INTEGER NOT NULL CHECK (quality BETWEEN 1 AND 5),
    repository_id TEXT NOT NULL REFERENCES repository (id),
    price TEXT NOT NULL,
    version TEXT NOT NULL CHECK (version <> ''),
    architecture TEXT NOT NULL CHECK (architecture <> ''),
    package_filename TEXT NOT NULL,
    package_size INTEGER NOT NULL CHECK (package_size >= 0),
    sha256_hash TEXT,
    name TEXT,
    description TEXT,
    author TEXT,
    maintainer TEXT,
    depiction TEXT,
    native_depiction TEXT,
    sileo_depiction TEXT,
    header_url TEXT,
    tint_color TEXT,
    icon_url TEXT,
    section TEXT,
    tags TEXT NOT NULL CHECK (json_type(tags) = 'array'),
    installed_size INTEGER CHECK (installed_size >= 0),
    digest BLOB NOT NULL CHECK (length(digest) = 16),
    version_key BLOB NOT NULL,
    -- When the package left the index of its source; it is live until then.
    left_at INTEGER,
    CHECK (left_at IS NULL OR (visible = 0 AND latest_version = 0))
) STRICT;

-- What a peer already knows of its source, in pages.
CREATE INDEX package_known ON package (repository_id, digest) WHERE left_at IS NULL;
-- All versions of one package, to find the latest.
CREATE INDEX package_versions ON package (repository_id, package_id, architecture)
    WHERE left_at IS NULL;
-- How many packages and which sections a repository has, without reading its packages.
CREATE INDEX package_sections ON package (repository_id, section) WHERE left_at IS NULL;

-- Exactly the visible latest versions. It holds words only, no texts, so a row is taken out by
-- its number alone.
CREATE VIRTUAL TABLE package_search USING fts5 (
    name, package_id, author, description,
    content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TRIGGER package_search_insert AFTER INSERT ON package
WHEN new.visible AND new.latest_version BEGIN
    INSERT INTO package_search (rowid, name, package_id, author, description)
    VALUES (new.number, new.name, new.package_id, new.author, new.description);
END;

CREATE TRIGGER package_search_leave
AFTER UPDATE OF latest_version, visible, name, package_id, author, description ON package
WHEN old.visible AND old.latest_version BEGIN
    DELETE FROM package_search WHERE rowid = old.number;
END;

CREATE TRIGGER package_search_enter
AFTER UPDATE OF latest_version, visible, name, package_id, author, description ON package
WHEN new.visible AND new.latest_version BEGIN
    -- The order in which two triggers fire is not promised: replacing is right in both.
    INSERT OR REPLACE INTO package_search (rowid, name, package_id, author, description)
    VALUES (new.number, new.name, new.package_id, new.author, new.description);
END;

CREATE TRIGGER package_search_delete AFTER DELETE ON package
WHEN old.visible AND old.latest_version BEGIN
    DELETE FROM package_search WHERE rowid = old.number;
END;

-- What is to be indexed, and what is remembered of it.

CREATE TABLE source (
    slug TEXT NOT NULL PRIMARY KEY,
    uri TEXT NOT NULL,
    suite TEXT NOT NULL,
    component TEXT,
    architecture TEXT,
    ranking INTEGER NOT NULL CHECK (ranking BETWEEN 1 AND 5),
    aliases TEXT NOT NULL CHECK (json_type(aliases) = 'array'),
    bootstrap INTEGER NOT NULL CHECK (bootstrap IN (0, 1)),
    -- Who runs its server: sources that share it are never leased at the same time.
    operator TEXT NOT NULL,
    -- Whether the source list names it. One that it doesn't is hidden and not polled.
    listed INTEGER NOT NULL CHECK (listed IN (0, 1)),
    due_at INTEGER NOT NULL,
    announced INTEGER NOT NULL CHECK (announced IN (0, 1)),
    last_contact INTEGER,
    last_attempt INTEGER,
    -- Attempts that failed by the source's fault since its last contact.
    failures INTEGER NOT NULL CHECK (failures >= 0),
    last_error TEXT,
    -- What its last publication came from; handed to the next peer.
    origin_head TEXT,
    origin_release_path TEXT,
    origin_etag TEXT,
    origin_last_modified TEXT,
    origin_index_path TEXT,
    origin_index_digest TEXT,
    CHECK ((origin_head IS NULL) = (origin_release_path IS NULL)
       AND (origin_head IS NULL) = (origin_index_path IS NULL)
       AND (origin_head IS NULL) = (origin_index_digest IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX source_due ON source (due_at) WHERE listed;

-- When the last lease of an operator's sources ended: the next one waits for the pause.
CREATE TABLE operator (
    name TEXT NOT NULL PRIMARY KEY,
    last_lease_ended INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE peer (
    name TEXT NOT NULL PRIMARY KEY,
    agent TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    -- Leases by how they went; granted is the sum of the others and of those in hand.
    granted INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    given_back INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0,
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The laws of leasing are this table's: one lease a source, one lease an operator, and a token
-- that is never used again, even after its row is gone (AUTOINCREMENT).
CREATE TABLE lease (
    token INTEGER PRIMARY KEY AUTOINCREMENT,
    slug TEXT NOT NULL UNIQUE REFERENCES source (slug),
    operator TEXT NOT NULL UNIQUE,
    peer TEXT NOT NULL REFERENCES peer (name),
    granted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- What is staged under it.
    put INTEGER NOT NULL DEFAULT 0,
    put_bytes INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX lease_peer ON lease (peer);

-- Rows a peer has put, in the order of the index. They go with their lease.
CREATE TABLE staging (
    seq INTEGER NOT NULL PRIMARY KEY,
    token INTEGER NOT NULL REFERENCES lease (token) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    id TEXT NOT NULL,
    version_key BLOB NOT NULL,
    package_id TEXT NOT NULL,
    price TEXT NOT NULL,
    version TEXT NOT NULL,
    architecture TEXT NOT NULL,
    package_filename TEXT NOT NULL,
    package_size INTEGER NOT NULL,
    sha256_hash TEXT,
    name TEXT,
    description TEXT,
    author TEXT,
    maintainer TEXT,
    depiction TEXT,
    native_depiction TEXT,
    sileo_depiction TEXT,
    header_url TEXT,
    tint_color TEXT,
    icon_url TEXT,
    section TEXT,
    tags TEXT NOT NULL,
    installed_size INTEGER,
    UNIQUE (token, digest)
) STRICT;

-- Digests a peer didn't find in the index any more.
CREATE TABLE staging_dropped (
    token INTEGER NOT NULL REFERENCES lease (token) ON DELETE CASCADE,
    digest BLOB NOT NULL CHECK (length(digest) = 16),
    PRIMARY KEY (token, digest)
) STRICT, WITHOUT ROWID;

-- How leases ended: the newest of each source.
CREATE TABLE attempt (
    number INTEGER NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL REFERENCES source (slug),
    token INTEGER NOT NULL,
    peer TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('indexed', 'unchanged', 'source failed',
        'peer failed', 'given back', 'expired', 'revoked')),
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

CREATE INDEX attempt_source ON attempt (slug, number);
