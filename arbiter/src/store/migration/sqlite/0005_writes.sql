-- How the peer writes its rows, as it says. None where it is away.
ALTER TABLE peer ADD COLUMN writes TEXT;
