//! What the user may do, by SHOW GRANTS.
//!
//! Both servers print it as statements. Roles are asked for one by one where the server keeps their
//! privileges apart; what only a proxy or a plugin grants is not seen.

use cdc_api::Result;

use crate::connect::Session;

/// Privileges by where they count.
#[derive(Debug, Default)]
pub(super) struct Grants(Vec<Grant>);

#[derive(Debug)]
struct Grant {
    privileges: Vec<String>,
    everywhere: bool,
}

impl Grants {
    /// Reads those of the session's user, with those of the roles that are active.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(super) async fn read(session: &mut Session) -> Result<Self> {
        let mut lines: Vec<String> = Vec::new();
        let mut texts = |rows: Vec<crate::connect::Row>| {
            lines.extend(rows.iter().map(|row| row.text(0).to_owned()));
        };
        texts(session.query("SHOW GRANTS").await?);
        if session.flavour() == crate::connect::Flavour::MySql {
            let row = session.query_one("SELECT CURRENT_ROLE()").await?;
            let roles = row.text(0).to_owned();
            if roles != "NONE" && !roles.is_empty() {
                let show = format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}");
                texts(session.query(&show).await?);
            }
        }
        Ok(Self::parse(&lines))
    }

    fn parse(lines: &[String]) -> Self {
        let grant = |line: &String| {
            let rest = line.strip_prefix("GRANT ")?;
            let (privileges, rest) = rest.split_once(" ON ")?;
            Some(Grant {
                privileges: privileges
                    .split(',')
                    .map(|name| name.trim().to_uppercase())
                    .collect(),
                everywhere: rest.starts_with("*.*"),
            })
        };
        Self(lines.iter().filter_map(grant).collect())
    }

    fn has(&self, privilege: &str, everywhere: bool) -> bool {
        self.0
            .iter()
            .filter(|grant| grant.everywhere || !everywhere)
            .flat_map(|grant| &grant.privileges)
            .any(|name| name == privilege || name == "ALL PRIVILEGES" || name == "ALL")
    }

    /// Whether the privilege is granted on everything.
    pub(super) fn everywhere(&self, privilege: &str) -> bool {
        self.has(privilege, true)
    }

    /// Whether the privilege is granted on anything.
    pub(super) fn anywhere(&self, privilege: &str) -> bool {
        self.has(privilege, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_told_by_where_they_count() {
        let lines = [
            "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `cdc`@`%` IDENTIFIED BY PASSWORD 'x'",
            "GRANT SELECT, LOCK TABLES ON `shop`.* TO `cdc`@`%`",
            "GRANT `reader`@`%` TO `cdc`@`%`",
        ]
        .map(str::to_owned);
        let grants = Grants::parse(&lines);
        assert!(grants.everywhere("REPLICATION SLAVE"));
        assert!(!grants.everywhere("LOCK TABLES"));
        assert!(grants.anywhere("LOCK TABLES"));
        assert!(!grants.anywhere("RELOAD"));
        let all = ["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`".to_owned()];
        assert!(Grants::parse(&all).everywhere("SUPER"));
    }
}
