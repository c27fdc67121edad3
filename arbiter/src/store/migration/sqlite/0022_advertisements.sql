-- What is published for those who follow by IPNI: a chain, one block a publication.
CREATE TABLE advertisement (
    -- The publication's.
    number INTEGER PRIMARY KEY,
    cid TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    -- The entry chunk that it names, which is made again of the head.
    entries TEXT NOT NULL,
    head TEXT NOT NULL
) STRICT;
CREATE INDEX advertisement_entries ON advertisement (entries);
