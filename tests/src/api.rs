//! What the Canister API asks of the database: its own statements, for every test that wants to know
//! whether it gets its answers: the tables, columns, joins, conditions and the order that it asks for.

/// A statement of the API's.
#[derive(Debug, Clone, Copy)]
pub struct ApiQuery {
    /// Its route.
    pub name: &'static str,
    /// As it is prepared.
    pub sql: &'static str,
    /// The values of its parameters in a test whose source `a` has `org.term` and `org.other`.
    pub values: &'static str,
}

impl ApiQuery {
    /// The statement that prepares it as `asked`, and the one that runs it.
    pub fn statements(&self) -> [String; 2] {
        let values =
            if self.values.is_empty() { String::new() } else { format!("({})", self.values) };
        [format!("PREPARE asked AS {}", self.sql), format!("EXECUTE asked{values}")]
    }
}

/// All of them. Where its newest version also asks for the repository, both are here.
pub const API: [ApiQuery; 12] = [
    ApiQuery {
        name: "look-up",
        sql: "SELECT * FROM package WHERE visible = true AND package_id = $1
              ORDER BY latest_version DESC, quality ASC",
        values: "'org.term'",
    },
    ApiQuery {
        name: "look-up with repository",
        sql: "SELECT package.*, to_jsonb(repository) AS repository FROM package
              LEFT JOIN repository ON package.repository_id = repository.id
              WHERE package.visible = true AND package.package_id = $1
              ORDER BY package.latest_version DESC, package.quality ASC",
        values: "'org.term'",
    },
    ApiQuery {
        name: "multi-look-up",
        sql: "SELECT package.*, repository.bootstrap FROM package
              LEFT JOIN repository ON package.repository_id = repository.id
              WHERE package.visible = true AND latest_version = true AND package_id = ANY($1)
              ORDER BY quality ASC",
        values: "ARRAY['org.term', 'org.other', 'none']",
    },
    ApiQuery {
        name: "search",
        sql: "SELECT *, ts_rank(search_vector, plainto_tsquery('simple', $1)) AS rank FROM package
              WHERE visible = true AND latest_version = true
                  AND search_vector @@ plainto_tsquery('simple', $1)
              ORDER BY rank DESC, quality ASC LIMIT $2 OFFSET $3",
        values: "'terminal', 100, 0",
    },
    ApiQuery {
        name: "search with repository",
        sql: "SELECT package.*, to_jsonb(repository) AS repository,
                  ts_rank(package.search_vector, plainto_tsquery('simple', $1)) AS rank
              FROM repository RIGHT JOIN package ON package.repository_id = repository.id
              WHERE package.visible = true AND latest_version = true
                  AND package.search_vector @@ plainto_tsquery('simple', $1)
              ORDER BY rank DESC, quality ASC LIMIT $2 OFFSET $3",
        values: "'terminal', 100, 0",
    },
    ApiQuery {
        name: "ingest",
        sql: "SELECT id FROM package WHERE visible = true AND package_id = $1 AND version = $2",
        values: "'org.term', '1.10'",
    },
    ApiQuery {
        name: "repository",
        sql: "SELECT * FROM repository WHERE visible = true AND id = $1 LIMIT 1",
        values: "'a'",
    },
    ApiQuery {
        name: "packages",
        sql: "SELECT * FROM package WHERE visible = true AND repository_id = $1",
        values: "'a'",
    },
    ApiQuery {
        name: "ranking",
        sql: "SELECT * FROM repository WHERE visible = true AND quality = $1 ORDER BY quality ASC",
        values: "1",
    },
    ApiQuery {
        name: "all rankings",
        sql: "SELECT * FROM repository WHERE visible = true ORDER BY quality ASC",
        values: "",
    },
    ApiQuery {
        name: "repository search",
        sql:
            "SELECT *, ts_rank(search_vector, plainto_tsquery('simple', $1)) AS rank FROM repository
              WHERE visible = true AND search_vector @@ plainto_tsquery('simple', $1)
              ORDER BY rank DESC, quality ASC LIMIT $2 OFFSET $3",
        values: "'zeta', 100, 0",
    },
    ApiQuery { name: "health", sql: "SELECT version()", values: "" },
];
