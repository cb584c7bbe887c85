//! Errors, by the reaction that they ask for.
//!
//! | kind | the engine | the operator |
//! |---|---|---|
//! | `Transient` | tries again with a growing pause, for ever | looks only when it lasts |
//! | `Config` | stops at start, exit code 2 | mends the key or setting in the hint |
//! | `Auth` | keeps trying slowly, reports | mends the credentials or grants in the hint |
//! | `Unsupported`, `Data` | stops that table when [`Error::table`] is set, else the sink or source | runs the statement in the hint |
//! | `LogLost` | stops; never re-snapshots on its own | re-snapshots as the hint says |
//! | `Fenced` | stops at once: another instance has taken over | stops the other instance |
//! | `Internal` | stops the part that raised it | reports a defect |

use std::fmt;

use crate::TableId;

/// The result of every fallible call of the contract.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller does about an error; see the module's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Passes by itself: a dropped connection, a server that restarts, a lock.
    Transient,
    /// The configuration or a server setting is wrong.
    Config,
    /// Credentials or privileges are missing.
    Auth,
    /// Something that cannot be represented or applied as asked.
    Unsupported,
    /// A value or a structure that breaks the protocol or the target's rules.
    Data,
    /// Log, slot, journal or server identity is gone or has moved on: a gap.
    LogLost,
    /// Another instance owns the target.
    Fenced,
    /// A defect of ours.
    Internal,
}

/// An error: what failed, where, and the statement or setting that mends it.
///
/// Never holds user data or a secret: neither row values nor passwords.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<String>,
    hint: Option<String>,
    table: Option<TableId>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; the message is lower case without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                context: Vec::new(),
                hint: None,
                table: None,
                source: None,
            }),
        }
    }

    /// [`ErrorKind::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// [`ErrorKind::Auth`].
    pub fn auth(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Auth, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// [`ErrorKind::LogLost`].
    pub fn log_lost(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LogLost, message)
    }

    /// [`ErrorKind::Fenced`].
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds where it happened, as a present-tense verb phrase: "reading segment 7".
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.inner.context.push(context.into());
        self
    }

    /// Sets the remedy: the exact statement or setting.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Limits the error to one table: the others go on.
    #[must_use]
    pub fn for_table(mut self, table: TableId) -> Self {
        self.inner.table = Some(table);
        self
    }

    /// Keeps the underlying error, for `source()` and the logs.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// What the caller does about it.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What failed, without context.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The remedy, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The one table that the error stops, if it is limited to one.
    pub fn table(&self) -> Option<TableId> {
        self.inner.table
    }

    /// Whether the same call may succeed later without anyone's help.
    pub fn is_transient(&self) -> bool {
        self.inner.kind == ErrorKind::Transient
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.inner.context.iter().rev() {
            write!(f, "{context}: ")?;
        }
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

/// Adds context to a result on its way up.
pub trait Context<T> {
    /// Adds where it happened, as a present-tense verb phrase.
    ///
    /// # Errors
    /// Passes the error on.
    fn context(self, context: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.context(context()))
    }
}
