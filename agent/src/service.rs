//! The settings that the package's service runs with: its file of variables, as systemd reads it.

use canister_protocol::plain::Plain;
use std::io::{self, Read as _};
use std::path::Path;

/// The settings file of the service that the package brings.
pub const SETTINGS: &str = "/etc/default/canister-agent";
/// The user that it runs as.
pub const USER: &str = "canister-agent";
/// What a service has of its own, and whoever types a command may have otherwise.
pub const PROXIES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"];
/// Longest such file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The variables of a settings file; none if there is no such file.
///
/// # Errors
/// One line: it can't be read, or systemd would pass over a line of it.
///
/// Spec: systemd.exec(5) `EnvironmentFile=`; a line that goes on after a backslash is refused.
pub fn variables(path: &Path) -> Result<Option<Vec<(String, String)>>, String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(format!("read {}: {cause}", path.display())),
    }
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let variable = variable(line).ok_or_else(|| {
            let (path, number) = (path.display(), number + 1);
            format!(
                "{path}, line {number}: the service passes over {}; use NAME=VALUE",
                Plain(line)
            )
        })?;
        found.push(variable);
    }
    Ok(Some(found))
}

fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_name) || line.ends_with('\\') {
        return None;
    }
    let value = value.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| {
        let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    });
    if quoted.is_none() && value.starts_with(['"', '\'']) {
        return None;
    }
    Some((name.to_owned(), quoted.unwrap_or(value).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_variable_or_is_told() {
        for (line, read) in [
            ("CANISTER_SLOTS=3", Some(("CANISTER_SLOTS", "3"))),
            ("A=\"b c\"", Some(("A", "b c"))),
            ("A='b c' ", Some(("A", "b c"))),
            ("A=", Some(("A", ""))),
            ("A=b=c", Some(("A", "b=c"))),
            ("export A=b", None),
            ("A = b", None),
            ("A", None),
            ("A=\"b", None),
            ("A=b \\", None),
        ] {
            let read = read.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(variable(line), read, "{line}");
        }
    }

    #[test]
    fn no_file_is_no_service() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings");
        assert_eq!(variables(&path), Ok(None));
        std::fs::write(&path, "# A=b\n\nCANISTER_SLOTS=1\nexport B=c\n").unwrap();
        let why = variables(&path).unwrap_err();
        assert!(why.contains(", line 4: the service passes over export B=c"), "{why}");
    }
}
