-- Peers' roles have names that say nothing: a role can find out what others are called. Here is whose each is. A role
-- that isn't here was made by an earlier arbiter, and is called as its peer.
CREATE TABLE arbiter.role (
    peer text PRIMARY KEY,
    name text NOT NULL UNIQUE
);

-- The peer that calls.
CREATE FUNCTION arbiter.caller() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce((SELECT peer FROM arbiter.role WHERE name = session_user), session_user) $$;

REVOKE ALL ON FUNCTION arbiter.caller() FROM PUBLIC;

-- The peers' functions go by it.
DO $$
DECLARE
    function regproc;
BEGIN
    FOREACH function IN ARRAY ARRAY['peer.known', 'peer.put']::regproc[] LOOP
        EXECUTE replace(pg_get_functiondef(function), 'session_user::text', 'arbiter.caller()');
    END LOOP;
END
$$;
