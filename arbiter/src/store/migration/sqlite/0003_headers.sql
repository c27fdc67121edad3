-- Headers that a source's server wants of a device, a JSON array of 'Name: value'.
ALTER TABLE source ADD COLUMN headers TEXT NOT NULL DEFAULT '[]'
    CHECK (json_type(headers) = 'array');
