-- When the source was last asked without validators, and by whom.
ALTER TABLE arbiter.source ADD COLUMN plain_at bigint, ADD COLUMN plain_by text;
-- Whether the lease's peer asks without validators.
ALTER TABLE arbiter.lease ADD COLUMN plain boolean NOT NULL DEFAULT false;
-- Bytes that were fetched of it, and on which day since 1970.
ALTER TABLE arbiter.source ADD COLUMN spent bigint NOT NULL DEFAULT 0, ADD COLUMN spent_on bigint;
