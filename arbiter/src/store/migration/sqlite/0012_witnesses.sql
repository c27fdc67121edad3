-- Who met what at a source since its last contact, as JSON: `rules::fault`. None where nobody met anything.
ALTER TABLE source ADD COLUMN witnesses TEXT;
CREATE INDEX source_witnessed ON source (due_at) WHERE witnesses IS NOT NULL;
-- How a peer's last leases ended, as JSON: `rules::record`. None where the last one went well.
ALTER TABLE peer ADD COLUMN record TEXT;
-- Until when it is granted nothing.
ALTER TABLE peer ADD COLUMN rests_until INTEGER;
