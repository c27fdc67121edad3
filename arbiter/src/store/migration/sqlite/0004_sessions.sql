-- The session a peer has now: from where, for how many leases. None where it is away.
ALTER TABLE peer ADD COLUMN address TEXT;
ALTER TABLE peer ADD COLUMN slots INTEGER CHECK ((slots IS NULL) = (address IS NULL));
