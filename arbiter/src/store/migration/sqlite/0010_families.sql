-- Which families of addresses the source's host has: one alone, or any; none where it wasn't looked up yet.
ALTER TABLE source ADD COLUMN families TEXT CHECK (families IN ('any', 'IPv4', 'IPv6'));

-- Which families of addresses lead out of the peer's home, as it says. None where it is away.
ALTER TABLE peer ADD COLUMN reaches TEXT;
