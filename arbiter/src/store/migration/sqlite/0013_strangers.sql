-- When the source was last asked without validators, and by whom.
ALTER TABLE source ADD COLUMN plain_at INTEGER;
ALTER TABLE source ADD COLUMN plain_by TEXT;
-- Whether the lease's peer asks without validators.
ALTER TABLE lease ADD COLUMN plain INTEGER NOT NULL DEFAULT 0 CHECK (plain IN (0, 1));
-- Bytes that were fetched of it, and on which day since 1970.
ALTER TABLE source ADD COLUMN spent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE source ADD COLUMN spent_on INTEGER;
