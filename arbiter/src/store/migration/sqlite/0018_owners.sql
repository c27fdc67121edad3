-- What a source's owner says: in its Release, in its host's files, and how long its server lets the last
-- answer be kept, in milliseconds. Why it is stopped, where its owner did that.
ALTER TABLE source ADD COLUMN owner_release TEXT;
ALTER TABLE source ADD COLUMN owner_host TEXT;
ALTER TABLE source ADD COLUMN max_age INTEGER NOT NULL DEFAULT 0;
ALTER TABLE source ADD COLUMN stopped TEXT;
-- How often in a row its owner announced what was new, and whether the last announcement was its owner's.
ALTER TABLE source ADD COLUMN relied INTEGER NOT NULL DEFAULT 0;
ALTER TABLE source ADD COLUMN announced_itself INTEGER NOT NULL DEFAULT 0 CHECK (announced_itself IN (0, 1));

-- Servers (scheme, host, port) that were asked for their owner's files, and what those say.
CREATE TABLE owner_file (
    place TEXT NOT NULL PRIMARY KEY,
    asked_at INTEGER NOT NULL,
    says TEXT NOT NULL
) STRICT, WITHOUT ROWID;
