-- What a source's owner says: in its Release, in its host's files, and how long its server lets the last
-- answer be kept, in milliseconds. Why it is stopped, where its owner did that.
ALTER TABLE arbiter.source ADD COLUMN owner_release text, ADD COLUMN owner_host text,
    ADD COLUMN max_age bigint NOT NULL DEFAULT 0, ADD COLUMN stopped text;
-- How often in a row its owner announced what was new, and whether the last announcement was its owner's.
ALTER TABLE arbiter.source ADD COLUMN relied bigint NOT NULL DEFAULT 0,
    ADD COLUMN announced_itself boolean NOT NULL DEFAULT false;

-- Servers (scheme, host, port) that were asked for their owner's files, and what those say.
CREATE TABLE arbiter.owner_file (
    place text NOT NULL PRIMARY KEY,
    asked_at bigint NOT NULL,
    says text NOT NULL
);

-- What was asked of each source, by the day since 1970.
CREATE TABLE arbiter.source_day (
    slug text NOT NULL,
    day bigint NOT NULL,
    leases bigint NOT NULL,
    requests bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (slug, day)
);
