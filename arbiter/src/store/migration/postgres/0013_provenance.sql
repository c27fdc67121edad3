-- What was published when, by whom and from what.

-- What the arbiters keep of a package for themselves is no part of what others read: they see its
-- table through a view of all other columns, which the planner takes for the table itself.
ALTER TABLE public.package SET SCHEMA arbiter;
-- The publication that last changed the row; none where that was before this version.
ALTER TABLE arbiter.package ADD COLUMN publication bigint;
DO $$
DECLARE
    reader text;
BEGIN
    EXECUTE (SELECT format('CREATE VIEW public.package AS SELECT %s FROM arbiter.package',
            string_agg(quote_ident(attname), ', ' ORDER BY attnum))
        FROM pg_attribute
        WHERE attrelid = 'arbiter.package'::regclass AND attnum > 0 AND NOT attisdropped
          AND attname NOT IN ('digest', 'version_key', 'left_at', 'publication'));
    -- Whoever may read the table may read the view.
    FOR reader IN SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
        FROM pg_class, aclexplode(relacl)
        WHERE oid = 'arbiter.package'::regclass AND privilege_type = 'SELECT'
          AND grantee <> relowner
    LOOP
        EXECUTE format('GRANT SELECT ON public.package TO %s', reader);
    END LOOP;
END
$$;
CREATE INDEX package_publication ON arbiter.package (publication) WHERE publication IS NOT NULL;

-- As before, of the table where it is now.
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
    SELECT slug INTO here_slug
        FROM arbiter.lease WHERE token = _token AND peer = _peer AND expires_at > _now;
    IF here_slug IS NULL THEN
        RAISE EXCEPTION 'lease % is over, or was never this peer''s', _token
            USING ERRCODE = 'CN001';
    END IF;
    RETURN QUERY
        SELECT digest FROM arbiter.package
        WHERE repository_id = here_slug AND left_at IS NULL AND digest > _after
        ORDER BY digest LIMIT _most;
END
$$;

-- The one row from which publications are numbered, in the order of their commits: whoever takes a
-- number keeps the row to itself until it commits.
CREATE TABLE arbiter.feed (last bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO arbiter.feed VALUES (0);

-- A publication is its lease's: rows are written before its number is known.
CREATE TABLE arbiter.publication (
    lease bigint PRIMARY KEY,
    number bigint NOT NULL UNIQUE,
    slug text NOT NULL REFERENCES arbiter.source (slug),
    peer text NOT NULL,
    granted_at bigint NOT NULL,
    published_at bigint NOT NULL,
    head text NOT NULL,
    index_path text NOT NULL,
    index_digest text NOT NULL,
    -- Rows of the catalogue that it wrote, that left by it, and that the source had then.
    put bigint NOT NULL,
    gone bigint NOT NULL,
    packages bigint NOT NULL,
    -- Peers whose audits found the same.
    confirmed_by text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX publication_source ON arbiter.publication (slug, number);

-- The newest publication of the source.
ALTER TABLE arbiter.source ADD COLUMN publication bigint;

-- The best that is known of what was published before this version.
INSERT INTO arbiter.publication (lease, number, slug, peer, granted_at, published_at, head,
    index_path, index_digest, put, gone, packages)
SELECT token, row_number() OVER (ORDER BY token), attempt.slug, peer, started, ended, origin_head,
    origin_index_path, origin_index_digest, put, dropped, packages
FROM arbiter.attempt JOIN arbiter.source ON source.slug = attempt.slug
WHERE origin_head IS NOT NULL AND token = (SELECT max(token) FROM arbiter.attempt AS last
    WHERE last.slug = attempt.slug AND verdict = 'indexed');
UPDATE arbiter.feed SET last = (SELECT count(*) FROM arbiter.publication);
UPDATE arbiter.source SET publication = lease FROM arbiter.publication
    WHERE publication.slug = source.slug;
