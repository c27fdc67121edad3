-- What the arbiters keep for themselves. Moments are milliseconds since 1970, by the clock of this
-- database, which is the only one that arbiters on it go by.

-- What is to be indexed, and what is remembered of it.
CREATE TABLE arbiter.source (
    slug text PRIMARY KEY,
    uri text NOT NULL,
    suite text NOT NULL,
    component text,
    architecture text,
    ranking integer NOT NULL CHECK (ranking BETWEEN 1 AND 5),
    aliases text[] NOT NULL,
    bootstrap boolean NOT NULL,
    headers text[] NOT NULL,
    -- Who runs its server: sources that share it are never leased at the same time.
    operator text NOT NULL,
    -- Whether the source list names it. One that it doesn't is hidden and not polled.
    listed boolean NOT NULL,
    due_at bigint NOT NULL,
    announced boolean NOT NULL,
    last_contact bigint,
    last_attempt bigint,
    -- Attempts that failed by the source's fault since its last contact.
    failures bigint NOT NULL CHECK (failures >= 0),
    last_error text,
    -- What its last publication came from; handed to the next peer.
    origin_head text,
    origin_release_path text,
    origin_etag text,
    origin_last_modified text,
    origin_index_path text,
    origin_index_digest text,
    CHECK ((origin_head IS NULL) = (origin_release_path IS NULL)
       AND (origin_head IS NULL) = (origin_index_path IS NULL)
       AND (origin_head IS NULL) = (origin_index_digest IS NULL))
) WITH (fillfactor = 70);

CREATE INDEX source_due ON arbiter.source (due_at) WHERE listed;

-- When the last lease of an operator's sources ended: the next one waits for the pause. Whoever
-- grants a lease of the operator locks its row first.
CREATE TABLE arbiter.operator (
    name text PRIMARY KEY,
    last_lease_ended bigint
) WITH (fillfactor = 70);

-- An arbiter that runs, or ran, on this database.
CREATE TABLE arbiter.arbiter (
    name text PRIMARY KEY,
    listen text NOT NULL,
    program text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE arbiter.peer (
    name text PRIMARY KEY,
    agent text NOT NULL,
    first_seen bigint NOT NULL,
    last_seen bigint NOT NULL,
    -- Leases by how they went; granted is the sum of the others and of those in hand.
    granted bigint NOT NULL DEFAULT 0,
    finished bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    given_back bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    revoked bigint NOT NULL DEFAULT 0,
    -- The session it has now: with which arbiter, from where, for how many leases. None where it
    -- is away; void where the arbiter is gone.
    arbiter text,
    address text,
    slots integer
) WITH (fillfactor = 70);

-- A token is never granted twice: a sequence doesn't go back, even where a transaction does.
CREATE SEQUENCE arbiter.token;

-- The laws of leasing are this table's: one lease a source, one lease an operator.
CREATE TABLE arbiter.lease (
    token bigint PRIMARY KEY DEFAULT nextval('arbiter.token'),
    slug text NOT NULL UNIQUE REFERENCES arbiter.source (slug),
    operator text NOT NULL UNIQUE,
    peer text NOT NULL REFERENCES arbiter.peer (name),
    granted_at bigint NOT NULL,
    expires_at bigint NOT NULL
) WITH (fillfactor = 50);

ALTER SEQUENCE arbiter.token OWNED BY arbiter.lease.token;
CREATE INDEX lease_peer ON arbiter.lease (peer);

-- How much is staged under each lease. Not columns of the lease: a peer that writes here itself
-- may keep its transaction open, and must not make the arbiters wait for a lock on the lease.
-- Made and taken away with its lease; where a peer had it locked at that moment, what is left over
-- goes when the arbiters next look.
CREATE TABLE arbiter.staged (
    token bigint PRIMARY KEY,
    put bigint NOT NULL DEFAULT 0,
    put_bytes bigint NOT NULL DEFAULT 0,
    dropped bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Rows a peer has put. They go with their lease. Of two rows with one id the first stands.
CREATE TABLE arbiter.staging (
    token bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    version_key bytea NOT NULL,
    package_id text NOT NULL,
    version text NOT NULL,
    architecture text NOT NULL,
    package_filename text NOT NULL,
    package_size bigint NOT NULL,
    price text NOT NULL,
    sha256_hash text,
    name text,
    description text,
    author text,
    maintainer text,
    depiction text,
    native_depiction text,
    sileo_depiction text,
    header_url text,
    tint_color text,
    icon_url text,
    section text,
    tags text[] NOT NULL,
    installed_size bigint,
    PRIMARY KEY (token, id)
);

-- Digests a peer didn't find in the index any more.
CREATE TABLE arbiter.staging_dropped (
    token bigint NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 16),
    PRIMARY KEY (token, digest)
);

-- What paid packages cost, as their source's shop said when it was last asked.
CREATE TABLE arbiter.price (
    slug text NOT NULL REFERENCES arbiter.source (slug),
    package_id text COLLATE "C" NOT NULL CHECK (octet_length(package_id) BETWEEN 1 AND 256),
    price text NOT NULL CHECK (octet_length(price) BETWEEN 1 AND 64),
    asked_at bigint NOT NULL,
    PRIMARY KEY (slug, package_id)
);

-- How leases ended: the newest of each source.
CREATE TABLE arbiter.attempt (
    token bigint PRIMARY KEY,
    slug text NOT NULL REFERENCES arbiter.source (slug),
    peer text NOT NULL,
    started bigint NOT NULL,
    ended bigint NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('indexed', 'unchanged', 'source failed',
        'peer failed', 'given back', 'expired', 'revoked')),
    requests bigint NOT NULL,
    bytes_fetched bigint NOT NULL,
    bytes_plain bigint NOT NULL,
    millis bigint NOT NULL,
    packages bigint NOT NULL,
    put bigint NOT NULL,
    dropped bigint NOT NULL,
    skipped bigint NOT NULL,
    error text
);

CREATE INDEX attempt_source ON arbiter.attempt (slug, token);

-- Work that one arbiter does for all, and when it was last begun.
CREATE TABLE arbiter.turn (
    work text PRIMARY KEY,
    begun_at bigint NOT NULL
);
