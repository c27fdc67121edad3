-- What was published when, by whom and from what.

-- The one row from which publications are numbered, in the order of their commits.
CREATE TABLE feed (last INTEGER NOT NULL) STRICT;
INSERT INTO feed VALUES (0);

-- A publication is its lease's: rows are written before its number is known.
CREATE TABLE publication (
    lease INTEGER NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    slug TEXT NOT NULL REFERENCES source (slug),
    peer TEXT NOT NULL,
    granted_at INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    head TEXT NOT NULL,
    index_path TEXT NOT NULL,
    index_digest TEXT NOT NULL,
    -- Rows of the catalogue that it wrote, that left by it, and that the source had then.
    put INTEGER NOT NULL,
    gone INTEGER NOT NULL,
    packages INTEGER NOT NULL,
    -- Peers whose audits found the same.
    confirmed_by TEXT NOT NULL DEFAULT '[]' CHECK (json_type(confirmed_by) = 'array')
) STRICT;
CREATE INDEX publication_source ON publication (slug, number);

-- The publication that last changed the row; none where that was before this version.
ALTER TABLE package ADD COLUMN publication INTEGER;
CREATE INDEX package_publication ON package (publication) WHERE publication IS NOT NULL;
-- The newest publication of the source.
ALTER TABLE source ADD COLUMN publication INTEGER;

-- The best that is known of what was published before this version.
INSERT INTO publication (lease, number, slug, peer, granted_at, published_at, head, index_path,
    index_digest, put, gone, packages)
SELECT token, row_number() OVER (ORDER BY token), attempt.slug, peer, started, ended, origin_head,
    origin_index_path, origin_index_digest, put, dropped, packages
FROM attempt JOIN source ON source.slug = attempt.slug
WHERE origin_head IS NOT NULL AND token =
    (SELECT max(token) FROM attempt AS last WHERE last.slug = attempt.slug AND verdict = 'indexed');
UPDATE feed SET last = (SELECT count(*) FROM publication);
UPDATE source SET publication = (SELECT lease FROM publication WHERE publication.slug = source.slug);
