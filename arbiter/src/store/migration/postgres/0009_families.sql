-- Which families of addresses the source's host has: one alone, or any; none where it wasn't looked up yet.
ALTER TABLE arbiter.source ADD COLUMN families text CHECK (families IN ('any', 'IPv4', 'IPv6'));

-- Which families of addresses lead out of the peer's home, as it says. None where it is away.
ALTER TABLE arbiter.peer ADD COLUMN reaches text;
