-- Second readings of what was published, and whom the network believes.

ALTER TABLE arbiter.peer
-- How far a peer is believed; those that published before this version are proven.
    ADD COLUMN trust text NOT NULL DEFAULT 'first'
        CHECK (trust IN ('first', 'probation', 'proven', 'suspended')),
-- Why it is suspended, and since when.
    ADD COLUMN trust_why text NOT NULL DEFAULT '',
    ADD COLUMN trust_since bigint,
-- Where it last came from, and the version of its row mapping.
    ADD COLUMN network text NOT NULL DEFAULT '',
    ADD COLUMN mapping bigint,
-- Its publications and its audits that were confirmed; when an audit of one of the first was last
-- asked for.
    ADD COLUMN confirmed bigint NOT NULL DEFAULT 0,
    ADD COLUMN audits bigint NOT NULL DEFAULT 0,
    ADD COLUMN asked_at bigint,
-- Changes that others found right after it was there, since it last found one itself.
    ADD COLUMN missed bigint NOT NULL DEFAULT 0;
UPDATE arbiter.peer SET trust = 'proven' WHERE finished > 0;

ALTER TABLE arbiter.lease ADD COLUMN kind text NOT NULL DEFAULT 'index'
    CHECK (kind IN ('audit', 'index', 'reread'));

ALTER TABLE arbiter.source
-- What a source's next lease is for, where it isn't to index, and by whom it is not to be done.
    ADD COLUMN wants text CHECK (wants IN ('audit', 'reread')),
    ADD COLUMN not_by text[] NOT NULL DEFAULT '{}',
    ADD COLUMN checked_at bigint,
    ADD COLUMN vouched_by text,
-- The newest publication for which its index was read.
    ADD COLUMN rows_from bigint;
UPDATE arbiter.source SET rows_from = publication, checked_at = published_at, vouched_by = peer
    FROM arbiter.publication WHERE lease = publication;

ALTER TABLE arbiter.publication
    ADD COLUMN network text NOT NULL DEFAULT '',
    ADD COLUMN mapping bigint,
    ADD COLUMN confirmed_at bigint,
-- Whether the next one, of another peer, had the head of the one before again.
    ADD COLUMN undone boolean NOT NULL DEFAULT false;
CREATE INDEX publication_peer ON arbiter.publication (peer, number);

-- The chance of who audits what: nobody is to foretell it.
ALTER TABLE arbiter.feed ADD COLUMN seed bigint NOT NULL DEFAULT 0;
UPDATE arbiter.feed SET seed =
    ('x' || substr(replace(gen_random_uuid()::text, '-', ''), 18, 15))::bit(60)::bigint;

-- Readings of one index that differ.
CREATE TABLE arbiter.dispute (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug text NOT NULL REFERENCES arbiter.source (slug),
    -- The publication that is in dispute, by its lease.
    publication bigint NOT NULL,
    opened_at bigint NOT NULL,
    -- Ids that are left out of all commitments.
    doubles text[] NOT NULL,
    closed_at bigint,
    -- What came of it, in words.
    ruling text
);
CREATE INDEX dispute_source ON arbiter.dispute (slug, number);

CREATE TABLE arbiter.reading (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dispute bigint NOT NULL REFERENCES arbiter.dispute (number) ON DELETE CASCADE,
    peer text NOT NULL,
    network text NOT NULL,
    mapping bigint,
    head text NOT NULL,
    index_path text NOT NULL,
    index_digest text NOT NULL,
    commitment text NOT NULL,
    read_at bigint NOT NULL
);
CREATE INDEX reading_dispute ON arbiter.reading (dispute, number);

-- Rows that a reread found otherwise: what the catalogue had, and what it has now.
CREATE TABLE arbiter.evidence (
    dispute bigint NOT NULL REFERENCES arbiter.dispute (number) ON DELETE CASCADE,
    had boolean NOT NULL,
    id text NOT NULL,
    package_id text NOT NULL,
    version text NOT NULL,
    architecture text NOT NULL,
    package_filename text NOT NULL,
    sha256_hash text,
    digest bytea NOT NULL
);
CREATE INDEX evidence_dispute ON arbiter.evidence (dispute);

-- One more way in which a lease can end: verdicts are checked by who reads them.
ALTER TABLE arbiter.attempt DROP CONSTRAINT attempt_verdict_check;

-- As before, but nothing under an audit.
CREATE OR REPLACE FUNCTION arbiter.known(
    _peer text, _token bigint, _now bigint, _after bytea, _most bigint
) RETURNS SETOF bytea
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_sort = off
SET enable_bitmapscan = off
SET enable_seqscan = off
AS $$
DECLARE
    here_slug text;
BEGIN
    SELECT slug INTO here_slug FROM arbiter.lease
        WHERE token = _token AND peer = _peer AND expires_at > _now AND kind <> 'audit';
    IF here_slug IS NULL THEN
        RAISE EXCEPTION 'lease % is over, is an audit, or was never this peer''s', _token
            USING ERRCODE = 'CN001';
    END IF;
    RETURN QUERY
        SELECT digest FROM arbiter.package
        WHERE repository_id = here_slug AND left_at IS NULL AND digest > _after
        ORDER BY digest LIMIT _most;
END
$$;
