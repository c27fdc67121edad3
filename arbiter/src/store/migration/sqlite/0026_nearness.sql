-- How far peers are from the servers of a domain, as they say: milliseconds to the first byte, smoothed.
CREATE TABLE near (
    domain TEXT NOT NULL,
    peer TEXT NOT NULL,
    millis INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (domain, peer)
) STRICT, WITHOUT ROWID;
CREATE INDEX near_peer ON near (peer);
