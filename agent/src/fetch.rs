//! stub
#[derive(Debug, Clone)]
pub struct FetchConfig;
pub fn open_trusted(_: &str) -> Result<std::fs::File, std::io::Error> {
    std::fs::File::open("/dev/null")
}
