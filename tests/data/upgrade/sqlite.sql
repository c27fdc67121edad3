PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE repository (
    id TEXT NOT NULL PRIMARY KEY,
    aliases TEXT NOT NULL CHECK (json_type(aliases) = 'array'),
    visible INTEGER NOT NULL CHECK (visible IN (0, 1)),
    quality INTEGER NOT NULL CHECK (quality BETWEEN 1 AND 5),
    package_count INTEGER NOT NULL CHECK (package_count >= 0),
    sections TEXT NOT NULL CHECK (json_type(sections) = 'array'),
    bootstrap INTEGER NOT NULL CHECK (bootstrap IN (0, 1)),
    uri TEXT NOT NULL,
    suite TEXT NOT NULL,
    component TEXT,
    name TEXT,
    version TEXT,
    description TEXT,
    date TEXT CHECK (date LIKE '____-__-__ __:__:__'),
    payment_gateway TEXT,
    sileo_endpoint TEXT,
    origin_hostname TEXT NOT NULL,
    origin_release_path TEXT NOT NULL,
    origin_release_hash TEXT NOT NULL,
    origin_packages_path TEXT NOT NULL,
    origin_packages_hash TEXT NOT NULL,
    origin_last_updated TEXT NOT NULL CHECK (origin_last_updated LIKE '____-__-__ __:__:__'),
    origin_has_in_release INTEGER NOT NULL CHECK (origin_has_in_release IN (0, 1)),
    origin_has_release_gpg INTEGER NOT NULL CHECK (origin_has_release_gpg IN (0, 1)),
    origin_supports_payment_v1 INTEGER NOT NULL CHECK (origin_supports_payment_v1 IN (0, 1)),
    origin_supports_payment_v2 INTEGER NOT NULL CHECK (origin_supports_payment_v2 IN (0, 1)),
    origin_uses_https INTEGER NOT NULL CHECK (origin_uses_https IN (0, 1))
, origin_signed_by TEXT) STRICT;
INSERT INTO repository VALUES('alpha','[]',1,2,3,'[]',0,'http://127.0.0.1:18091/alpha/','./',NULL,'Tests',NULL,NULL,NULL,NULL,NULL,'127.0.0.1','Release','sha256:303677d26d2e8a7e218cb046787d4966505b0ceaf5853bac0fa58d8d1dcf7d23','Packages','sha256:96a03df89bd4e371de9dce5ba43e296a060eea1ad4b765ff6521e1d2e2b41054','2026-11-30 08:08:15',0,0,0,0,0,NULL);
INSERT INTO repository VALUES('beta','[]',0,2,3,'[]',0,'http://127.0.0.1:18091/beta/','./',NULL,'Tests',NULL,NULL,NULL,NULL,NULL,'127.0.0.1','Release','sha256:adff274e43cb030a461573eed94385056c02f24867a4d4cfb0f3a98da41f878e','Packages','sha256:196ca10e9e7203c59acb8230ee251cb1406cc9098f91d3552a7d0ef5146ee4d8','2026-11-30 08:08:15',0,0,0,0,0,NULL);
INSERT INTO repository VALUES('gamma','[]',0,2,3,'[]',0,'http://127.0.0.1:18091/gamma/','./',NULL,'Tests',NULL,NULL,NULL,NULL,NULL,'127.0.0.1','Release','sha256:31964b18051d71c106850773ef1b48f0193472aa1d53f7554c44341a75d80573','Packages','sha256:7a6c016afb18ee3a3053f7a0d1010f527a3c56cd8672ba789e55ad974e6fa2c9','2026-11-30 08:08:15',0,0,0,0,0,NULL);
CREATE TABLE package (
    -- What package_search calls the row. Explicit, because VACUUM may renumber rows without one.
    number INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 26),
    package_id TEXT NOT NULL CHECK (package_id <> ''),
    latest_version INTEGER NOT NULL CHECK (latest_version IN (0, 1)),
    visible INTEGER NOT NULL CHECK (visible IN (0, 1)),
    quality INTEGER NOT NULL CHECK (quality BETWEEN 1 AND 5),
    repository_id TEXT NOT NULL REFERENCES repository (id),
    price TEXT NOT NULL,
    version TEXT NOT NULL CHECK (version <> ''),
    architecture TEXT NOT NULL CHECK (architecture <> ''),
    package_filename TEXT NOT NULL,
    package_size INTEGER NOT NULL CHECK (package_size >= 0),
    sha256_hash TEXT,
    name TEXT,
    description TEXT,
    author TEXT,
    maintainer TEXT,
    depiction TEXT,
    native_depiction TEXT,
    sileo_depiction TEXT,
    header_url TEXT,
    tint_color TEXT,
    icon_url TEXT,
    section TEXT,
    tags TEXT NOT NULL CHECK (json_type(tags) = 'array'),
    installed_size INTEGER CHECK (installed_size >= 0),
    digest BLOB NOT NULL CHECK (length(digest) = 16),
    version_key BLOB NOT NULL,
    -- When the package left the index of its source; it is live until then.
    left_at INTEGER, publication INTEGER,
    CHECK (left_at IS NULL OR (visible = 0 AND latest_version = 0))
) STRICT;
INSERT INTO package VALUES(1,'75A1J72A7C379AA6S62Q5MBVWZ','alpha',1,1,2,'alpha','Free','1.0','all','a.deb',5,NULL,NULL,'of alpha',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["x","y"]',NULL,X'9b907c55eabbd14fa4c8121ce754fa5b',X'0002013165020002020002',NULL,1);
INSERT INTO package VALUES(2,'7249758HTB9A3ZEFVR3K8X80E0','alpha-tool',1,1,2,'alpha','Free','1.2','all','a.deb',5,NULL,NULL,'of alpha',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["x","y"]',NULL,X'28a2c80963de1fc18ed376e6e2ccd726',X'000201316502013202020002',NULL,1);
INSERT INTO package VALUES(3,'1WRPQ8VWS7Y6EBZN0VMENNWEFE','libalpha',1,1,2,'alpha','Free','1.3','all','a.deb',5,NULL,NULL,'of alpha',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["x","y"]',NULL,X'e82cfa921dc72528b8ef89310021dda5',X'000201316502013302020002',NULL,1);
INSERT INTO package VALUES(4,'5AYEEHAK5G5SJJ0RHV0E001JF9','beta',1,0,2,'beta','Free','1.0','all','a.deb',5,NULL,NULL,'of beta',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["x","y"]',NULL,X'e8f108e5cc88b28dd5e0958c9e1a184b',X'0002013165020002020002',NULL,2);
INSERT INTO package VALUES(5,'23WA71SGZNC9W1SW7TZX2QQEM8','beta-tool',1,0,2,'beta','Free','1.2','all','a.deb',5,NULL,NULL,'of beta',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["x","y"]',NULL,X'd33d1cc9b0a0c243b113136b7135ee96',X'000201316502013202020002',NULL,2);
INSERT INTO package VALUES(6,'4S94X6M757AE9KNZV6XSAYRDT6','libbeta',1,0,2,'beta','Free','1.3','all','a.deb',5,NULL,NULL,'of beta',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["x","y"]',NULL,X'3d10441a31f41bfdd75d30d377065357',X'000201316502013302020002',NULL,2);
INSERT INTO package VALUES(7,'54H9KJT6BK9EE0J5R3KV5N5HXE','gamma',1,0,2,'gamma','Free','1.0','all','a.deb',5,NULL,NULL,'of gamma',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["x","y"]',NULL,X'ee5a2263f23c12ac2ac7cc806af5f0c0',X'0002013165020002020002',NULL,3);
INSERT INTO package VALUES(8,'0NAC6XT076B6RW7APC93W2C789','gamma-tool',1,0,2,'gamma','Free','1.2','all','a.deb',5,NULL,NULL,'of gamma',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["x","y"]',NULL,X'c6828564d3a0fe7a85967fbf4fef50b2',X'000201316502013202020002',NULL,3);
INSERT INTO package VALUES(9,'35G917WVS5HJ52993580RTJGJN','libgamma',1,0,2,'gamma','Free','1.3','all','a.deb',5,NULL,NULL,'of gamma',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["x","y"]',NULL,X'1fb5a91f1f59979f697024c1d9cf1869',X'000201316502013302020002',NULL,3);
PRAGMA writable_schema=ON;
INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','package_search','package_search',0,'CREATE VIRTUAL TABLE package_search USING fts5 (
    name, package_id, author, description,
    content = '''', contentless_delete = 1, tokenize = ''unicode61 remove_diacritics 2''
)');
CREATE TABLE IF NOT EXISTS 'package_search_data'(id INTEGER PRIMARY KEY, block BLOB);
INSERT INTO package_search_data VALUES(1,X'0300040006');
INSERT INTO package_search_data VALUES(10,X'00000000ff0000010103090003010101010100000302010102020103030301010303010303');
INSERT INTO package_search_data VALUES(137438953473,X'0000004d0630616c706861010c010102010303010c010102010303010601030301086c6962616c706861030601010201026f660106010302010601030201060103020104746f6f6c0206010103041c0f13');
INSERT INTO package_search_data VALUES(274877906945,X'0000004b053062657461040c010102010303010c010102010303010601030301076c696262657461060601010201026f660406010302010601030201060103020104746f6f6c0506010103041b0e13');
INSERT INTO package_search_data VALUES(412316860417,X'0000004d063067616d6d61070c010102010303010c010102010303010601030301086c696267616d6d61090601010201026f660706010302010601030201060103020104746f6f6c0806010103041c0f13');
INSERT INTO package_search_data VALUES(9007474132647936,X'04000000000000030000000000000000000000000000000000000004000000050000000600000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO package_search_data VALUES(9007611571601408,X'04000000000000030000000000000000000000000000000000000000000000000000000000000007000000080000000900000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE IF NOT EXISTS 'package_search_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID;
INSERT INTO package_search_idx VALUES(1,X'',2);
INSERT INTO package_search_idx VALUES(2,X'',2);
INSERT INTO package_search_idx VALUES(3,X'',2);
CREATE TABLE IF NOT EXISTS 'package_search_docsize'(id INTEGER PRIMARY KEY, sz BLOB, origin INTEGER);
INSERT INTO package_search_docsize VALUES(1,X'00010002',1);
INSERT INTO package_search_docsize VALUES(2,X'00020002',1);
INSERT INTO package_search_docsize VALUES(3,X'00010002',1);
CREATE TABLE IF NOT EXISTS 'package_search_config'(k PRIMARY KEY, v) WITHOUT ROWID;
INSERT INTO package_search_config VALUES('version',4);
CREATE TABLE source (
    slug TEXT NOT NULL PRIMARY KEY,
    uri TEXT NOT NULL,
    suite TEXT NOT NULL,
    component TEXT,
    architecture TEXT,
    ranking INTEGER NOT NULL CHECK (ranking BETWEEN 1 AND 5),
    aliases TEXT NOT NULL CHECK (json_type(aliases) = 'array'),
    bootstrap INTEGER NOT NULL CHECK (bootstrap IN (0, 1)),
    -- Who runs its server: sources that share it are never leased at the same time.
    operator TEXT NOT NULL,
    -- Whether the source list names it. One that it doesn't is hidden and not polled.
    listed INTEGER NOT NULL CHECK (listed IN (0, 1)),
    due_at INTEGER NOT NULL,
    announced INTEGER NOT NULL CHECK (announced IN (0, 1)),
    last_contact INTEGER,
    last_attempt INTEGER,
    -- Attempts that failed by the source's fault since its last contact.
    failures INTEGER NOT NULL CHECK (failures >= 0),
    last_error TEXT,
    -- What its last publication came from; handed to the next peer.
    origin_head TEXT,
    origin_release_path TEXT,
    origin_etag TEXT,
    origin_last_modified TEXT,
    origin_index_path TEXT,
    origin_index_digest TEXT, headers TEXT NOT NULL DEFAULT '[]'
    CHECK (json_type(headers) = 'array'), announced_cid TEXT, announced_at INTEGER, discovery TEXT
    CHECK (discovery IN ('look', 'trust', 'found', 'approved', 'refused')), discovered_by TEXT, discovered_at INTEGER, domain TEXT NOT NULL DEFAULT '', failing_since INTEGER, last_failure INTEGER, standing TEXT NOT NULL DEFAULT 'active'
    CHECK (standing IN ('active', 'deactivated', 'delisted')), stood_at INTEGER, blocked TEXT, polled INTEGER GENERATED ALWAYS AS
    (listed AND blocked IS NULL AND (standing <> 'delisted' OR announced)) VIRTUAL, shown INTEGER GENERATED ALWAYS AS
    (listed AND blocked IS NULL AND standing = 'active') VIRTUAL, delisted TEXT, names INTEGER NOT NULL DEFAULT 0, families TEXT CHECK (families IN ('any', 'IPv4', 'IPv6')), signature TEXT, signed_by TEXT CHECK ((signature IS NULL) = (signed_by IS NULL)), signed_until INTEGER, witnesses TEXT, plain_at INTEGER, plain_by TEXT, spent INTEGER NOT NULL DEFAULT 0, spent_on INTEGER, publication INTEGER, wants TEXT CHECK (wants IN ('audit', 'reread')), not_by TEXT NOT NULL DEFAULT '[]' CHECK (json_type(not_by) = 'array'), checked_at INTEGER, vouched_by TEXT, rows_from INTEGER, anew INTEGER, reason TEXT, next_signers TEXT NOT NULL DEFAULT '[]' CHECK (json_type(next_signers) = 'array'), next_until INTEGER, owner_release TEXT, owner_host TEXT, max_age INTEGER NOT NULL DEFAULT 0, stopped TEXT, relied INTEGER NOT NULL DEFAULT 0, announced_itself INTEGER NOT NULL DEFAULT 0 CHECK (announced_itself IN (0, 1)), oddities TEXT,
    CHECK ((origin_head IS NULL) = (origin_release_path IS NULL)
       AND (origin_head IS NULL) = (origin_index_path IS NULL)
       AND (origin_head IS NULL) = (origin_index_digest IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO source VALUES('alpha','http://127.0.0.1:18091/alpha/','./',NULL,NULL,2,'[]',0,'127.0.0.1',1,1796030322974,0,1796026095772,1796026095772,0,NULL,'bafkreibqgz35e3jorj7cddfqiz4h2slgkbnqz2xvqu52yd5frwgr3t35em','Release',NULL,'Mon, 30 Nov 2026 08:08:15 GMT','Packages','sha256:96a03df89bd4e371de9dce5ba43e296a060eea1ad4b765ff6521e1d2e2b41054','[]',NULL,NULL,NULL,NULL,NULL,'127.0.0.1',NULL,NULL,'active',NULL,NULL,NULL,3,'any','missing','',NULL,NULL,1796026095772,'anna',441,20787,1,'audit','["127.0.0.0/24","anna"]',1796026095772,'anna',1,NULL,NULL,'[]',NULL,NULL,NULL,0,NULL,0,0,replace('line 1: stanza without a digest of its deb; add SHA256 (package "alpha") [digest-missing]\nline 9: stanza without a digest of its deb; add SHA256 (package "alpha-tool") [digest-missing]\nline 17: stanza without a digest of its deb; add SHA256 (package "libalpha") [digest-missing]','\n',char(10)));
INSERT INTO source VALUES('beta','http://127.0.0.1:18091/beta/','./',NULL,NULL,2,'[]',0,'127.0.0.1',1,1796031260265,0,1796026095791,1796026095791,0,NULL,'bafkreifn74tu4q6lamfemflt53muhbifnqbpesdhutkm7mhtvgg2ih4hry','Release',NULL,'Mon, 30 Nov 2026 08:08:15 GMT','Packages','sha256:196ca10e9e7203c59acb8230ee251cb1406cc9098f91d3552a7d0ef5146ee4d8','[]',NULL,NULL,NULL,NULL,NULL,'127.0.0.1',NULL,NULL,'delisted',1796026096441,NULL,'delist slug:beta by uid 0 at 2026-11-30 08:08:16: gone',3,'any','missing','',NULL,NULL,1796026095791,'anna',435,20787,2,NULL,'[]',1796026095791,'anna',2,5,NULL,'[]',NULL,NULL,NULL,0,NULL,0,0,replace('line 1: stanza without a digest of its deb; add SHA256 (package "beta") [digest-missing]\nline 9: stanza without a digest of its deb; add SHA256 (package "beta-tool") [digest-missing]\nline 17: stanza without a digest of its deb; add SHA256 (package "libbeta") [digest-missing]','\n',char(10)));
INSERT INTO source VALUES('gamma','http://127.0.0.1:18091/gamma/','./',NULL,NULL,2,'[]',0,'127.0.0.1',1,1796028804672,0,1796026095810,1796026095810,0,NULL,'bafkreibrszfrqbi5ohaqnbihopxrwshqde2hfkq5kp3vktcegqnhlwafom','Release',NULL,'Mon, 30 Nov 2026 08:08:15 GMT','Packages','sha256:7a6c016afb18ee3a3053f7a0d1010f527a3c56cd8672ba789e55ad974e6fa2c9','[]',NULL,NULL,NULL,NULL,NULL,'127.0.0.1',NULL,NULL,'active',NULL,'blocked: block slug:gamma by uid 0 at 2026-11-30 08:08:16: spam',NULL,3,'any','missing','',NULL,NULL,1796026095810,'anna',441,20787,3,NULL,'[]',1796026095810,'anna',3,4,NULL,'[]',NULL,NULL,NULL,0,NULL,0,0,replace('line 1: stanza without a digest of its deb; add SHA256 (package "gamma") [digest-missing]\nline 9: stanza without a digest of its deb; add SHA256 (package "gamma-tool") [digest-missing]\nline 17: stanza without a digest of its deb; add SHA256 (package "libgamma") [digest-missing]','\n',char(10)));
INSERT INTO source VALUES('odd','http://127.0.0.1:18091/odd/','./',NULL,NULL,2,'[]',0,'127.0.0.1',1,1796026995825,0,NULL,1796026095825,1,'odd: fetch Packages: not there',NULL,NULL,NULL,NULL,NULL,NULL,'[]',NULL,NULL,NULL,NULL,NULL,'127.0.0.1',1796026095825,1796026095825,'active',NULL,NULL,NULL,0,'any',NULL,NULL,NULL,'[{"peer":"anna","network":"127.0.0.0/24","met":"content","at":1796026095825,"times":1}]',NULL,NULL,85,20787,NULL,NULL,'[]',NULL,NULL,NULL,NULL,'not found','[]',NULL,NULL,NULL,0,NULL,0,0,NULL);
CREATE TABLE peer (
    name TEXT NOT NULL PRIMARY KEY,
    agent TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    -- Leases by how they went; granted is the sum of the others and of those in hand.
    granted INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    given_back INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0,
    revoked INTEGER NOT NULL DEFAULT 0
, address TEXT, slots INTEGER CHECK ((slots IS NULL) = (address IS NULL)), writes TEXT, reaches TEXT, record TEXT, rests_until INTEGER, trust TEXT NOT NULL DEFAULT 'first'
    CHECK (trust IN ('first', 'probation', 'proven', 'suspended')), trust_why TEXT NOT NULL DEFAULT '', trust_since INTEGER, network TEXT NOT NULL DEFAULT '', mapping INTEGER, confirmed INTEGER NOT NULL DEFAULT 0, audits INTEGER NOT NULL DEFAULT 0, asked_at INTEGER, missed INTEGER NOT NULL DEFAULT 0, public_name TEXT) STRICT, WITHOUT ROWID;
INSERT INTO peer VALUES('anna','canister-agent/0.1.0',1796026095743,1796026095825,4,3,1,0,0,0,NULL,NULL,NULL,NULL,'{"unreached":["127.0.0.1"],"lost":0,"rests":0,"rests_until":null,"is_tried":true}',NULL,'proven','',NULL,'127.0.0.0/24',1,0,0,1796026095772,0,NULL);
CREATE TABLE lease (
    token INTEGER PRIMARY KEY AUTOINCREMENT,
    slug TEXT NOT NULL UNIQUE REFERENCES source (slug),
    operator TEXT NOT NULL UNIQUE,
    peer TEXT NOT NULL REFERENCES peer (name),
    granted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL, plain INTEGER NOT NULL DEFAULT 0 CHECK (plain IN (0, 1)), kind TEXT NOT NULL DEFAULT 'index'
    CHECK (kind IN ('audit', 'index', 'reread'))) STRICT;
CREATE TABLE staging (
    seq INTEGER NOT NULL PRIMARY KEY,
    token INTEGER NOT NULL REFERENCES lease (token) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    id TEXT NOT NULL,
    version_key BLOB NOT NULL,
    package_id TEXT NOT NULL,
    price TEXT NOT NULL,
    version TEXT NOT NULL,
    architecture TEXT NOT NULL,
    package_filename TEXT NOT NULL,
    package_size INTEGER NOT NULL,
    sha256_hash TEXT,
    name TEXT,
    description TEXT,
    author TEXT,
    maintainer TEXT,
    depiction TEXT,
    native_depiction TEXT,
    sileo_depiction TEXT,
    header_url TEXT,
    tint_color TEXT,
    icon_url TEXT,
    section TEXT,
    tags TEXT NOT NULL,
    installed_size INTEGER,
    UNIQUE (token, digest)
) STRICT;
CREATE TABLE staging_dropped (
    token INTEGER NOT NULL REFERENCES lease (token) ON DELETE CASCADE,
    digest BLOB NOT NULL CHECK (length(digest) = 16),
    PRIMARY KEY (token, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE price (
    slug TEXT NOT NULL REFERENCES source (slug),
    package_id TEXT NOT NULL CHECK (package_id <> ''),
    price TEXT NOT NULL CHECK (price <> ''),
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (slug, package_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE distance (
    domain TEXT NOT NULL PRIMARY KEY,
    refusals INTEGER NOT NULL CHECK (refusals >= 0),
    rests_until INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE cooling (
    domain TEXT NOT NULL,
    peer TEXT NOT NULL,
    refusals INTEGER NOT NULL CHECK (refusals > 0),
    until INTEGER NOT NULL,
    PRIMARY KEY (domain, peer)
) STRICT, WITHOUT ROWID;
CREATE TABLE host_address (
    host TEXT NOT NULL,
    address TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (host, address)
) STRICT, WITHOUT ROWID;
CREATE TABLE blocked_host (
    host TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TABLE held (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('source list', 'policy', 'source')),
    slug TEXT,
    fingerprint TEXT NOT NULL UNIQUE,
    why TEXT NOT NULL,
    held_at INTEGER NOT NULL) STRICT;
CREATE TABLE decision (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    said TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- What the held change was that it is of.
    about TEXT,
    by_whom TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    why TEXT NOT NULL,
    in_force INTEGER NOT NULL CHECK (in_force IN (0, 1))
) STRICT;
INSERT INTO decision VALUES(1,'block','slug:gamma',NULL,'uid 0',1796026096285,'spam',1);
INSERT INTO decision VALUES(2,'block','host:bad.example',NULL,'uid 0',1796026096425,'asked by its owner',1);
INSERT INTO decision VALUES(3,'allow','https://bad.example/good',NULL,'uid 0',1796026096432,'',1);
INSERT INTO decision VALUES(4,'delist','slug:beta',NULL,'uid 0',1796026096441,'gone',1);
INSERT INTO decision VALUES(5,'trust','peer:anna',NULL,'uid 0',1796026096450,'a friend',1);
INSERT INTO decision VALUES(6,'suspend','peer:ben',NULL,'uid 0',1796026096456,'',1);
CREATE TABLE IF NOT EXISTS "operator" (
    name TEXT NOT NULL PRIMARY KEY,
    last_lease_ended INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO operator VALUES('127.0.0.1',1796026095825);
CREATE TABLE staged (
    token INTEGER NOT NULL PRIMARY KEY REFERENCES lease (token) ON DELETE CASCADE,
    put INTEGER NOT NULL DEFAULT 0,
    put_bytes INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE loss (
    slug TEXT NOT NULL,
    lost INTEGER NOT NULL,
    lost_at INTEGER NOT NULL
) STRICT;
CREATE TABLE keyring (
    slug TEXT NOT NULL PRIMARY KEY REFERENCES source (slug),
    keys TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE absent (
    slug TEXT NOT NULL REFERENCES source (slug),
    file TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (slug, file)
) STRICT, WITHOUT ROWID;
INSERT INTO absent VALUES('alpha','Release.gpg',1796026095772);
INSERT INTO absent VALUES('beta','Release.gpg',1796026095791);
INSERT INTO absent VALUES('gamma','Release.gpg',1796026095810);
CREATE TABLE feed (last INTEGER NOT NULL, seed INTEGER NOT NULL DEFAULT 0, horizon INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO feed VALUES(5,7712680647792520144,0);
CREATE TABLE publication (
    lease INTEGER NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    slug TEXT NOT NULL REFERENCES source (slug),
    peer TEXT NOT NULL,
    granted_at INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    head TEXT NOT NULL,
    index_path TEXT NOT NULL,
    index_digest TEXT NOT NULL,
    -- Rows of the catalogue that it wrote, that left by it, and that the source had then.
    put INTEGER NOT NULL,
    gone INTEGER NOT NULL,
    packages INTEGER NOT NULL,
    -- Peers whose audits found the same.
    confirmed_by TEXT NOT NULL DEFAULT '[]' CHECK (json_type(confirmed_by) = 'array')
, network TEXT NOT NULL DEFAULT '', mapping INTEGER, confirmed_at INTEGER, undone INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1))) STRICT;
INSERT INTO publication VALUES(1,1,'alpha','anna',1796026095747,1796026095772,'bafkreibqgz35e3jorj7cddfqiz4h2slgkbnqz2xvqu52yd5frwgr3t35em','Packages','sha256:96a03df89bd4e371de9dce5ba43e296a060eea1ad4b765ff6521e1d2e2b41054',3,0,3,'[]','127.0.0.0/24',1,NULL,0);
INSERT INTO publication VALUES(2,2,'beta','anna',1796026095777,1796026095791,'bafkreifn74tu4q6lamfemflt53muhbifnqbpesdhutkm7mhtvgg2ih4hry','Packages','sha256:196ca10e9e7203c59acb8230ee251cb1406cc9098f91d3552a7d0ef5146ee4d8',3,0,3,'[]','127.0.0.0/24',1,NULL,0);
INSERT INTO publication VALUES(3,3,'gamma','anna',1796026095794,1796026095810,'bafkreibrszfrqbi5ohaqnbihopxrwshqde2hfkq5kp3vktcegqnhlwafom','Packages','sha256:7a6c016afb18ee3a3053f7a0d1010f527a3c56cd8672ba789e55ad974e6fa2c9',3,0,3,'[]','127.0.0.0/24',1,NULL,0);
CREATE TABLE dispute (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    slug TEXT NOT NULL REFERENCES source (slug),
    -- The publication that is in dispute, by its lease.
    publication INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    -- Ids that are left out of all commitments.
    doubles TEXT NOT NULL CHECK (json_type(doubles) = 'array'),
    closed_at INTEGER,
    -- What came of it, in words.
    ruling TEXT
) STRICT;
CREATE TABLE reading (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    dispute INTEGER NOT NULL REFERENCES dispute (number) ON DELETE CASCADE,
    peer TEXT NOT NULL,
    network TEXT NOT NULL,
    mapping INTEGER,
    head TEXT NOT NULL,
    index_path TEXT NOT NULL,
    index_digest TEXT NOT NULL,
    commitment TEXT NOT NULL,
    read_at INTEGER NOT NULL
) STRICT;
CREATE TABLE evidence (
    dispute INTEGER NOT NULL REFERENCES dispute (number) ON DELETE CASCADE,
    had INTEGER NOT NULL CHECK (had IN (0, 1)),
    id TEXT NOT NULL,
    package_id TEXT NOT NULL,
    version TEXT NOT NULL,
    architecture TEXT NOT NULL,
    package_filename TEXT NOT NULL,
    sha256_hash TEXT,
    digest BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS "attempt" (
    number INTEGER NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL REFERENCES source (slug),
    token INTEGER NOT NULL,
    peer TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    requests INTEGER NOT NULL,
    bytes_fetched INTEGER NOT NULL,
    bytes_plain INTEGER NOT NULL,
    millis INTEGER NOT NULL,
    packages INTEGER NOT NULL,
    put INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    error TEXT
, reason TEXT) STRICT;
INSERT INTO attempt VALUES(1,'alpha',1,'anna',1796026095747,1796026095772,'indexed',6,441,317,21,3,3,0,0,NULL,NULL);
INSERT INTO attempt VALUES(2,'beta',2,'anna',1796026095777,1796026095791,'indexed',4,435,311,10,3,3,0,0,NULL,NULL);
INSERT INTO attempt VALUES(3,'gamma',3,'anna',1796026095794,1796026095810,'indexed',4,441,317,13,3,3,0,0,NULL,NULL);
INSERT INTO attempt VALUES(4,'odd',4,'anna',1796026095814,1796026095825,'source failed',4,85,0,9,0,0,0,0,'odd: fetch Packages: not there','not found');
CREATE TABLE tally (
    hour INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    writer INTEGER NOT NULL,
    leases INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    millis INTEGER NOT NULL,
    PRIMARY KEY (hour, verdict, reason, writer)
) STRICT, WITHOUT ROWID;
INSERT INTO tally VALUES(1796025600000,'indexed','',0,3,14,1317,44);
INSERT INTO tally VALUES(1796025600000,'source failed','not found',0,1,4,85,9);
CREATE TABLE applicant (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    -- The signing request in PEM.
    request TEXT NOT NULL,
    contact TEXT NOT NULL,
    network TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    asked_at INTEGER NOT NULL,
    -- When the operator answered, and what: certificates in PEM, or why not.
    answered_at INTEGER,
    chain TEXT,
    authority TEXT,
    refused TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE owner_file (
    place TEXT NOT NULL PRIMARY KEY,
    asked_at INTEGER NOT NULL,
    says TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO owner_file VALUES('http://127.0.0.1:18091',1796026095772,'');
CREATE TABLE source_day (
    slug TEXT NOT NULL,
    day INTEGER NOT NULL,
    leases INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (slug, day)
) STRICT, WITHOUT ROWID;
INSERT INTO source_day VALUES('alpha',20787,1,6,441);
INSERT INTO source_day VALUES('beta',20787,1,4,435);
INSERT INTO source_day VALUES('gamma',20787,1,4,441);
INSERT INTO source_day VALUES('odd',20787,1,4,85);
CREATE TABLE advertisement (
    -- The publication's.
    number INTEGER PRIMARY KEY,
    cid TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    -- The entry chunk that it names, which is made again of the head.
    entries TEXT NOT NULL,
    head TEXT NOT NULL
) STRICT;
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('decision',6);
INSERT INTO sqlite_sequence VALUES('lease',4);
CREATE INDEX package_known ON package (repository_id, digest) WHERE left_at IS NULL;
CREATE INDEX package_versions ON package (repository_id, package_id, architecture)
    WHERE left_at IS NULL;
CREATE INDEX package_sections ON package (repository_id, section) WHERE left_at IS NULL;
CREATE TRIGGER package_search_insert AFTER INSERT ON package
WHEN new.visible AND new.latest_version BEGIN
    INSERT INTO package_search (rowid, name, package_id, author, description)
    VALUES (new.number, new.name, new.package_id, new.author, new.description);
END;
CREATE TRIGGER package_search_leave
AFTER UPDATE OF latest_version, visible, name, package_id, author, description ON package
WHEN old.visible AND old.latest_version BEGIN
    DELETE FROM package_search WHERE rowid = old.number;
END;
CREATE TRIGGER package_search_enter
AFTER UPDATE OF latest_version, visible, name, package_id, author, description ON package
WHEN new.visible AND new.latest_version BEGIN
    -- The order in which two triggers fire is not promised: replacing is right in both.
    INSERT OR REPLACE INTO package_search (rowid, name, package_id, author, description)
    VALUES (new.number, new.name, new.package_id, new.author, new.description);
END
;
CREATE TRIGGER package_search_delete AFTER DELETE ON package
WHEN old.visible AND old.latest_version BEGIN
    DELETE FROM package_search WHERE rowid = old.number;
END;
CREATE INDEX source_due ON source (due_at) WHERE listed;
CREATE INDEX lease_peer ON lease (peer);
CREATE INDEX staging_order ON staging (token);
CREATE INDEX package_left ON package (left_at) WHERE left_at IS NOT NULL;
CREATE UNIQUE INDEX decision_in_force ON decision (subject, said) WHERE in_force;
CREATE INDEX source_witnessed ON source (due_at) WHERE witnesses IS NOT NULL;
CREATE INDEX publication_source ON publication (slug, number);
CREATE INDEX publication_peer ON publication (peer, number);
CREATE INDEX dispute_source ON dispute (slug, number);
CREATE INDEX reading_dispute ON reading (dispute, number);
CREATE INDEX evidence_dispute ON evidence (dispute);
CREATE INDEX attempt_source ON attempt (slug, number);
CREATE INDEX source_anew ON source (anew) WHERE anew IS NOT NULL;
CREATE INDEX package_publication ON package (publication, id) WHERE publication IS NOT NULL;
CREATE INDEX advertisement_entries ON advertisement (entries);
PRAGMA writable_schema=OFF;
COMMIT;
PRAGMA application_id = 1131311988;
PRAGMA user_version = 23;
