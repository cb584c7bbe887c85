//! Getting to the server: the URL's settings, the socket, TLS, authentication, plain SQL.
//!
//! One way for every session, whether it reads the catalog, a table or the binlog, so that all of
//! them have the same security and the same session variables. Built on mysql_common's packets: the
//! ready client makes an owned value of each cell, and cannot verify an authority without the name.
//!
//! Code map: [`settings`] the URL · [`wire`] packets in and out · [`auth`] the authentication plugins ·
//! [`session`] statements. Sockets and TLS are `cdc_database`'s.

mod auth;
pub(crate) mod session;
pub(crate) mod settings;
mod wire;

pub(crate) use session::{Flavour, Row, Session};
