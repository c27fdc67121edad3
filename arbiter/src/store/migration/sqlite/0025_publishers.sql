-- What is remembered of the publisher that a source's owner names, as JSON.
ALTER TABLE source ADD COLUMN followed TEXT;
