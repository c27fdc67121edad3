//! stub
use canister_protocol::row::{Digest, PackageRow};
pub mod relay;
#[derive(Debug)]
pub enum SinkError {
    Lost,
}
pub trait Sink {
    fn known(&mut self) -> Result<Option<Vec<Digest>>, SinkError>;
    fn put(&mut self, rows: Vec<PackageRow>) -> Result<(), SinkError>;
    fn dropped(&mut self, digests: &[Digest]) -> Result<(), SinkError>;
    fn discard(&mut self) -> Result<(), SinkError>;
    fn flush(&mut self) -> Result<(), SinkError>;
}
