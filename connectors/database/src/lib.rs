//! What sources that are databases share, whichever database it is: the way to the server and the
//! way of its changes to the engine.
//!
//! Code map: [`product`] what differs between databases on that way, as data · [`settings`] the URL,
//! taken apart · [`socket`] TCP, Unix sockets, TLS over TCP as one byte stream · [`tls`] rustls in
//! the modes of libpq · [`rows`] a table's rows becoming a change batch, [`batches`] those of all
//! tables · [`stream`] the thread of a running stream · [`outlet`] the queue from it to the engine,
//! bounded in bytes · [`debezium`] what offsets of Debezium's connectors have in common.
//!
//! **Architecture invariant:** nothing here speaks a database's protocol or knows its types. A
//! source crate depends on this one, this one on the contract alone.

pub mod batches;
pub mod debezium;
pub mod outlet;
pub mod product;
pub mod rows;
pub mod settings;
pub mod socket;
pub mod stream;
pub mod tls;

pub use product::Product;
pub use settings::{Host, Settings, TlsMode, Url};
pub use socket::Socket;
