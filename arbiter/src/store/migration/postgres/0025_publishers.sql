-- What is remembered of the publisher that a source's owner names, as JSON.
ALTER TABLE arbiter.source ADD COLUMN followed text;
