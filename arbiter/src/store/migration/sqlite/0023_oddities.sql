-- What a source's owner would mend in the index that was read last, a line each.
ALTER TABLE source ADD COLUMN oddities TEXT;
