-- When the source was last asked without validators, and by whom.
ALTER TABLE arbiter.source ADD COLUMN plain_at bigint, ADD COLUMN plain_by text;
-- Whether the lease's peer asks without validators.
ALTER TABLE arbiter.lease ADD COLUMN plain boolean NOT NULL DEFAULT false;
-- Bytes that were fetched of it, and on which day since 1970.
ALTER TABLE arbiter.source ADD COLUMN spent bigint NOT NULL DEFAULT 0, ADD COLUMN spent_on bigint;

-- All that is staged under all leases together is bounded, whoever puts it.
CREATE FUNCTION arbiter.bound_staging() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bytes_max CONSTANT bigint := 1073741824;
    staged CONSTANT bigint := NEW.put_bytes
        + (SELECT coalesce(sum(put_bytes), 0) FROM arbiter.staged WHERE token <> NEW.token);
BEGIN
    IF staged > bytes_max THEN
        RAISE EXCEPTION '% bytes are staged under all leases, at most % are taken', staged, bytes_max
            USING ERRCODE = 'CN001';
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION arbiter.bound_staging() FROM PUBLIC;
CREATE TRIGGER bound_staging BEFORE UPDATE OF put_bytes ON arbiter.staged
    FOR EACH ROW WHEN (NEW.put_bytes > OLD.put_bytes) EXECUTE FUNCTION arbiter.bound_staging();
