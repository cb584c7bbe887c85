//! The replication grammar's commands, by what the server's version understands.
//!
//! Invariant: every name is quoted, and no option is sent to a server that does not have it: an
//! unknown option is an error there.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::position::Lsn;

/// What is asked of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Large transactions are sent while they run (14+).
    pub(crate) streaming: bool,
    /// Values in binary (14+).
    pub(crate) binary: bool,
}

/// A slot's lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until it is dropped; exports no snapshot. `failover` (17+) has it kept on standbys.
    Permanent {
        /// Whether standbys keep it too.
        failover: bool,
    },
    /// Until the session ends; exports a snapshot, valid until the session's next command.
    Snapshot,
}

/// `CREATE_REPLICATION_SLOT`; answers slot name, consistent point, snapshot name, plugin.
pub(crate) fn create_slot(slot: &str, lifetime: Lifetime, version: u32) -> String {
    let slot = escape_identifier(slot);
    let old = version < 15_0000;
    match lifetime {
        Lifetime::Snapshot if old => {
            format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT")
        }
        Lifetime::Snapshot => {
            format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')")
        }
        Lifetime::Permanent { .. } if old => {
            format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput NOEXPORT_SNAPSHOT")
        }
        Lifetime::Permanent { failover } => format!(
            "CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput (SNAPSHOT 'nothing'{})",
            if failover && version >= 17_0000 {
                ", FAILOVER"
            } else {
                ""
            }
        ),
    }
}

/// The newest version of pgoutput's protocol that is of use with this server.
pub(crate) fn protocol(version: u32) -> u32 {
    match version {
        ..14_0000 => 1,
        14_0000..15_0000 => 2,
        15_0000..16_0000 => 3,
        _ => 4,
    }
}

/// `START_REPLICATION` from `lsn` on.
pub(crate) fn start(
    slot: &str,
    lsn: Lsn,
    publications: &[String],
    wishes: Wishes,
    version: u32,
) -> String {
    // Parsed by the server as a list of identifiers inside a literal.
    let names: Vec<String> = publications
        .iter()
        .map(|name| escape_identifier(name))
        .collect();
    let mut options = vec![
        format!("proto_version '{}'", protocol(version)),
        format!("publication_names {}", escape_literal(&names.join(","))),
    ];
    if version >= 14_0000 {
        if wishes.binary {
            options.push("binary 'true'".to_owned());
        }
        if wishes.streaming {
            options.push("streaming 'on'".to_owned());
        }
        options.push("messages 'true'".to_owned());
    }
    format!(
        "START_REPLICATION SLOT {} LOGICAL {lsn} ({})",
        escape_identifier(slot),
        options.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Wishes = Wishes {
        streaming: true,
        binary: true,
    };

    #[test]
    fn options_follow_the_servers_version() {
        let on = |version| start("s", Lsn(0x1_0000_00AB), &["p".to_owned()], ALL, version);
        assert_eq!(
            on(13_0011),
            "START_REPLICATION SLOT \"s\" LOGICAL 1/AB (proto_version '1', publication_names '\"p\"')"
        );
        assert_eq!(
            on(16_0002),
            "START_REPLICATION SLOT \"s\" LOGICAL 1/AB (proto_version '4', publication_names \
             '\"p\"', binary 'true', streaming 'on', messages 'true')"
        );
    }

    #[test]
    fn odd_names_are_quoted_at_both_levels() {
        let names = ["it's".to_owned(), "a \"b\"".to_owned()];
        let command = start("s", Lsn(0), &names, ALL, 15_0000);
        assert!(
            command.contains(r#"publication_names '"it''s","a ""b"""'"#),
            "{command}"
        );
    }

    #[test]
    fn slots_are_created_in_the_grammar_of_the_version() {
        let failover = Lifetime::Permanent { failover: true };
        assert_eq!(
            create_slot("s", failover, 14_0001),
            "CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput NOEXPORT_SNAPSHOT"
        );
        assert_eq!(
            create_slot("s", failover, 15_0001),
            "CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput (SNAPSHOT 'nothing')"
        );
        assert_eq!(
            create_slot("s", failover, 17_0001),
            "CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput (SNAPSHOT 'nothing', FAILOVER)"
        );
        assert!(create_slot("s", Lifetime::Snapshot, 13_0000).ends_with("EXPORT_SNAPSHOT"));
    }
}
