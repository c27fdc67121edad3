-- What is published for those who follow by IPNI: a chain, one block a publication.
CREATE TABLE arbiter.advertisement (
    -- The publication's.
    number bigint PRIMARY KEY,
    cid text NOT NULL UNIQUE,
    body text NOT NULL,
    -- The entry chunk that it names, which is made again of the head.
    entries text NOT NULL,
    head text NOT NULL
);
CREATE INDEX advertisement_entries ON arbiter.advertisement (entries);
