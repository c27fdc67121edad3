-- What was last announced of a source, and when: an announcement that comes while a peer reads the
-- source is newer than what the peer saw, unless it saw exactly that.
ALTER TABLE source ADD COLUMN announced_cid TEXT;
ALTER TABLE source ADD COLUMN announced_at INTEGER;
