-- How far peers are from the servers of a domain, as they say: milliseconds to the first byte, smoothed.
CREATE TABLE arbiter.near (
    domain text NOT NULL,
    peer text NOT NULL,
    millis bigint NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (domain, peer)
);
CREATE INDEX near_peer ON arbiter.near (peer);
