-- Keeps from the Canister API what its consumers can't read: Sileo knows these four architectures, and
-- rejects a whole answer in which there is another. Run by a superuser, after an arbiter has made the
-- tables; again after a change of the list:
--
--     sudo -u postgres psql --dbname canister --file architectures.sql
--     sudo -u postgres psql --command 'ALTER ROLE canister_api SET search_path = readable, public'
--
-- The second line puts it in force for new sessions, `SET search_path = public` takes it back. The API's
-- statements stay as they are: what they call package is this view.

\set ON_ERROR_STOP on

CREATE SCHEMA IF NOT EXISTS readable;
-- The columns that the API reads, and none that is the arbiter's own.
CREATE OR REPLACE VIEW readable.package AS
SELECT id, package_id, latest_version, visible, quality, repository_id, price, version, architecture,
    package_filename, package_size, sha256_hash, name, description, author, maintainer, depiction,
    native_depiction, sileo_depiction, header_url, tint_color, icon_url, section, tags, installed_size,
    search_vector
FROM public.package
WHERE architecture IN ('iphoneos-arm', 'iphoneos-arm64', 'darwin-amd64', 'darwin-arm64');
GRANT USAGE ON SCHEMA readable TO canister_api;
GRANT SELECT ON readable.package TO canister_api;
