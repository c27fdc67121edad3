-- Why attempts failed, in a few words; none where it isn't known.
ALTER TABLE arbiter.attempt ADD COLUMN reason text;
ALTER TABLE arbiter.source ADD COLUMN reason text;
-- What the network did: leases that ended, by hour, how and why. An empty reason is none. Each
-- connection counts in rows of its own, so that nobody who ends a lease waits for another.
CREATE TABLE arbiter.tally (
    hour bigint NOT NULL,
    verdict text NOT NULL,
    reason text NOT NULL,
    writer integer NOT NULL,
    leases bigint NOT NULL,
    requests bigint NOT NULL,
    bytes bigint NOT NULL,
    millis bigint NOT NULL,
    PRIMARY KEY (hour, verdict, reason, writer)
) WITH (fillfactor = 50);
