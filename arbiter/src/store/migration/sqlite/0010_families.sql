-- The only family of addresses that the source's host has; none where it has both, or none is known.
ALTER TABLE source ADD COLUMN only_family TEXT CHECK (only_family IN ('IPv4', 'IPv6'));

-- Which families of addresses lead out of the peer's home, as it says. None where it is away.
ALTER TABLE peer ADD COLUMN reaches TEXT;
