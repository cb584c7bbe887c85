//! Questions to one source, for tests of one behaviour beside the suite.
//!
//! Every function panics where the source does not do what it has to.

use std::sync::Arc;
use std::time::Duration;

use crate::{
    ChangeEvent, ChangeStream, Checkpoint, ErrorKind, Result, Severity, Source, TableSchema,
};

/// All tables that the source finds, captured, and where their stream begins.
pub async fn capture_all(source: &dyn Source) -> (Vec<Arc<TableSchema>>, Checkpoint) {
    let found = source.discover().await.expect("tables are found");
    let tables: Vec<_> = found.into_iter().map(|found| found.table).collect();
    source
        .capture(&tables)
        .await
        .expect("the tables are captured");
    let origin = source.origin().await.expect("there is an origin");
    (tables, origin)
}

/// The next commit of a stream that has rows before it, and how many.
///
/// # Errors
/// Of the stream.
pub async fn next_commit(stream: &mut dyn ChangeStream) -> Result<(u64, Checkpoint)> {
    let mut rows = 0;
    loop {
        let event = tokio::time::timeout(Duration::from_secs(30), stream.next())
            .await
            .expect("the stream says something");
        match event? {
            ChangeEvent::Rows(batch) => rows += batch.len() as u64,
            ChangeEvent::Commit(checkpoint) if rows > 0 => return Ok((rows, checkpoint)),
            _ => {}
        }
    }
}

/// What the source says about its connection: the first finding of its check, or why there is none.
///
/// # Errors
/// Of the check.
pub async fn connects(source: &dyn Source) -> Result<()> {
    let findings = source.check().await?;
    assert_eq!(findings[0].subject, "connection");
    assert_eq!(findings[0].severity, Severity::Ok);
    Ok(())
}

/// The source, which is at `url`, cannot connect, and says why with a hint that holds `hint` and without
/// the word `secret`.
pub async fn assert_refused(
    source: &dyn Source,
    url: &str,
    kind: ErrorKind,
    (hint, secret): (&str, &str),
) {
    let error = connects(source).await.expect_err(url);
    assert_eq!(error.kind(), kind, "{url}: {error}");
    let said = error.hint_text().unwrap_or_default();
    assert!(said.contains(hint), "{url}: {error}: {said}");
    assert!(!format!("{error:?}{error}").contains(secret), "{url}");
}
