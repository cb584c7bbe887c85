//! What a database is called and how it is set up: the words in URLs and remedies that differ.
//!
//! Owns no behaviour; `settings`, `socket` and `tls` read it.

/// A database product, on the way to its server. Remedies are whole hints for an operator, in the
/// names that the product's own settings have.
#[derive(Debug)]
pub struct Product {
    /// How its URLs may begin, with `://`.
    pub schemes: &'static [&'static str],
    /// The port where the URL names none.
    pub port: u16,
    /// The parameters that its URLs may have, in the order in which they are explained. What
    /// [`Url`](crate::Url) does not know of them it keeps for [`Url::take`](crate::Url::take).
    pub parameters: &'static [&'static str],
    /// A URL with everything that it needs.
    pub example: &'static str,
    /// A URL of a Unix socket.
    pub socket_example: &'static str,
    /// Why a URL names one server, and what to do.
    pub one_server: &'static str,
    /// Nothing listens at the Unix socket.
    pub no_socket: &'static str,
    /// Nothing listens at the address.
    pub no_listener: &'static str,
    /// The server has no TLS.
    pub no_tls: &'static str,
    /// The server's certificate has expired.
    pub expired: &'static str,
    /// The server refuses our certificate, or that we have none.
    pub refused_certificate: &'static str,
    /// The server's versions of TLS are too old.
    pub no_common_version: &'static str,
}
