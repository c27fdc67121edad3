-- What was last announced of a source, and when: an announcement that comes while a peer reads the
-- source is newer than what the peer saw, unless it saw exactly that.
ALTER TABLE source ADD COLUMN announced_cid TEXT;
ALTER TABLE source ADD COLUMN announced_at INTEGER;

-- A source that an announcement made known, and the source list doesn't name. 'look' and 'trust' are
-- polled until they were looked at once; then the first is 'found' and waits for the operator, the
-- second is 'approved'. What is no APT repository is 'refused', and remembered for a while.
ALTER TABLE source ADD COLUMN discovery TEXT
    CHECK (discovery IN ('look', 'trust', 'found', 'approved', 'refused'));
-- Who announced it, and when it came to this stage.
ALTER TABLE source ADD COLUMN discovered_by TEXT;
ALTER TABLE source ADD COLUMN discovered_at INTEGER;
