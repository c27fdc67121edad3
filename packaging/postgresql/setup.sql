-- Run once by a superuser, before an arbiter is started with this database:
--
--     sudo -u postgres psql --file setup.sql
--
-- It may be run again. The tables are the arbiter's to make; README.md beside this file explains
-- what stands here.

\set ON_ERROR_STOP on

-- The group of the peers: what its members may do is granted to it by the arbiter, and it is two
-- functions. NOINHERIT and NOLOGIN stand for: it is a list of names, not a user.
SELECT 'CREATE ROLE canister_peer NOLOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'canister_peer') \gexec

-- The arbiter: it owns the database, makes and drops the peers' roles, and ends their sessions.
SELECT 'CREATE ROLE canister_arbiter LOGIN CREATEROLE'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'canister_arbiter') \gexec
GRANT canister_peer TO canister_arbiter WITH ADMIN OPTION;
GRANT pg_read_all_stats, pg_signal_backend TO canister_arbiter;

-- It bounds for peers what only a superuser may set: what one statement may write to disk in passing, and
-- what goes into the server's log, which a peer could fill with what it says. Those who are there already:
GRANT SET ON PARAMETER temp_file_limit, log_min_messages, log_min_error_statement TO canister_arbiter;
SELECT format('ALTER ROLE %I SET %s', rolname, setting)
FROM pg_auth_members
JOIN pg_roles ON pg_roles.oid = member AND rolname <> 'canister_arbiter' AND NOT rolsuper,
    unnest(ARRAY['temp_file_limit = ''64MB''', 'log_min_messages = ''fatal''',
        'log_min_error_statement = ''panic''']) AS setting
WHERE roleid = 'canister_peer'::regrole \gexec

-- The Canister API: it reads the catalogue and can do nothing else. It has no password until you give it
-- one, and needs none on the database's own machine.
SELECT 'CREATE ROLE canister_api LOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'canister_api') \gexec
ALTER ROLE canister_api CONNECTION LIMIT 50;
ALTER ROLE canister_api SET statement_timeout = '30s';
ALTER ROLE canister_api SET idle_in_transaction_session_timeout = '30s';

SELECT 'CREATE DATABASE canister OWNER canister_arbiter ENCODING ''UTF8'' TEMPLATE template0'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'canister') \gexec
REVOKE ALL ON DATABASE canister FROM PUBLIC;
GRANT CONNECT ON DATABASE canister TO canister_peer, canister_api;
-- Every role may connect to the databases that come with a server. Peers have no line for them
-- in pg_hba.conf, and no right either.
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;

\connect canister

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO canister_arbiter;

-- The catalogue is all that is in this schema, now or later; what computes its columns is no one's to
-- call.
GRANT USAGE ON SCHEMA public TO canister_api;
ALTER DEFAULT PRIVILEGES FOR ROLE canister_arbiter IN SCHEMA public GRANT SELECT ON TABLES TO canister_api;
ALTER DEFAULT PRIVILEGES FOR ROLE canister_arbiter REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO canister_api;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;

-- What PostgreSQL lets everybody do and neither a peer nor the Canister API needs: every volatile function, which is one
-- that does something (stores large objects, holds a lock that the arbiters wait for, sleeps, writes to the log of
-- changes, wakes the arbiters, ends sessions), but those that
--   clock_timestamp, timeofday, random, random_normal, setseed, gen_random_uuid: touch nothing;
--   set_config: does what SET does, which is everybody's;
--   nextval, currval, lastval, setval: ask for the right on their sequence;
-- and some that do nothing but run what a text says, or tell of other roles and sessions.
SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', oid::regprocedure),
       format('GRANT EXECUTE ON FUNCTION %s TO canister_arbiter, pg_monitor', oid::regprocedure)
FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace
  AND has_function_privilege('public', oid, 'EXECUTE')
  AND (provolatile = 'v' AND proname <> ALL (ARRAY['clock_timestamp', 'timeofday', 'random',
          'random_normal', 'setseed', 'gen_random_uuid', 'set_config', 'nextval', 'currval',
          'lastval', 'setval'])
      OR proname ~ '^(query_to_xml.*|table_to_xml.*|cursor_to_xml.*|schema_to_xml.*|database_to_xml.*|ts_stat|ts_rewrite|pg_get_userbyid|pg_stat_get_activity|pg_stat_get_backend_.*|pg_lock_status|txid_current|pg_current_xact_id)$')
\gexec

-- Nor does a peer need a loop. (What it may call is written in this language, too, and runs as the arbiter.)
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
GRANT USAGE ON LANGUAGE plpgsql TO canister_arbiter;

-- Who else there is, and what they are doing, is none of a peer's business.
REVOKE SELECT ON pg_roles, pg_user, pg_group, pg_auth_members, pg_db_role_setting, pg_stat_activity,
    pg_stat_ssl, pg_stat_gssapi, pg_locks, pg_prepared_xacts, pg_shdescription, pg_database,
    pg_stat_database, pg_settings, pg_largeobject_metadata FROM PUBLIC;
GRANT SELECT ON pg_roles, pg_auth_members, pg_db_role_setting, pg_stat_activity, pg_stat_ssl,
    pg_locks, pg_database, pg_stat_database, pg_settings TO canister_arbiter, pg_monitor;
