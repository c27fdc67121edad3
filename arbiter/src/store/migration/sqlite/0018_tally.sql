-- Why attempts failed, in a few words; none where it isn't known.
ALTER TABLE attempt ADD COLUMN reason TEXT;
ALTER TABLE source ADD COLUMN reason TEXT;
-- What the network did: leases that ended, by hour, how and why. An empty reason is none.
CREATE TABLE tally (
    hour INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    writer INTEGER NOT NULL,
    leases INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    millis INTEGER NOT NULL,
    PRIMARY KEY (hour, verdict, reason, writer)
) STRICT, WITHOUT ROWID;
