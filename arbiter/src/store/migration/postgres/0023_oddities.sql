-- What a source's owner would mend in the index that was read last, a line each.
ALTER TABLE arbiter.source ADD COLUMN oddities text;
