-- Who met what at a source since its last contact, as JSON: `rules::fault`. None where nobody met anything.
ALTER TABLE arbiter.source ADD COLUMN witnesses text;
CREATE INDEX source_witnessed ON arbiter.source (due_at) WHERE witnesses IS NOT NULL;
-- How a peer's last leases ended, as JSON: `rules::record`. None where the last one went well.
ALTER TABLE arbiter.peer ADD COLUMN record text;
-- Until when it is granted nothing.
ALTER TABLE arbiter.peer ADD COLUMN rests_until bigint;
