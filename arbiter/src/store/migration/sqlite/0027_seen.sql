-- What was last seen long ago is found by an index: addresses are noted many times a minute.
CREATE INDEX host_address_seen ON host_address (seen_at);
