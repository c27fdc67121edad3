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

-- What was asked of each source, by the day since 1970.
CREATE TABLE source_day (
    slug TEXT NOT NULL,
    day INTEGER NOT NULL,
    leases INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (slug, day)
) STRICT, WITHOUT ROWID;
