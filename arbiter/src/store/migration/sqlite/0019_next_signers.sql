-- Who may sign a source's next Release, by the last one's Signed-By, and until when that counts.
ALTER TABLE source ADD COLUMN next_signers TEXT NOT NULL DEFAULT '[]' CHECK (json_type(next_signers) = 'array');
ALTER TABLE source ADD COLUMN next_until INTEGER;
