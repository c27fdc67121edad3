-- What changed, for whoever keeps a copy of what the catalogue shows.

-- Who hasn't read up to here must begin again: rows that left before are deleted.
ALTER TABLE arbiter.feed ADD COLUMN horizon bigint NOT NULL DEFAULT 0;
-- The change at which readers are to read the source anew.
ALTER TABLE arbiter.source ADD COLUMN anew bigint;
CREATE INDEX source_anew ON arbiter.source (anew) WHERE anew IS NOT NULL;
-- The rows of a publication by their ids, in pages.
DROP INDEX arbiter.package_publication;
CREATE INDEX package_publication ON arbiter.package (publication, id) WHERE publication IS NOT NULL;
