//! stub
#[derive(Debug, Clone)]
pub struct FetchConfig;
