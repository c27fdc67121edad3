-- Who may sign a source's next Release, by the last one's Signed-By, and until when that counts.
ALTER TABLE arbiter.source
    ADD COLUMN next_signers text[] NOT NULL DEFAULT '{}',
    ADD COLUMN next_until bigint;
