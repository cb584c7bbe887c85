//! Preflight: whether the brokers can be reached as configured, and what will bite later. Read-only.

use cdc_api::{Error, Finding};

use crate::config::{Delivery, Operation};
use crate::registry::Registry;
use crate::session::Site;

pub(crate) fn check(site: &Site) -> Vec<Finding> {
    let mut findings = Vec::new();
    let asked = site.reader(true).and_then(|reader| {
        let brokers = reader.brokers()?;
        Ok((brokers, reader.partitions(&site.checkpoint_topic)?))
    });
    match asked {
        Ok((brokers, checkpoint)) => {
            findings.push(Finding::ok("brokers", format!("{brokers} answer")));
            let replication = usize::from(site.config.topics.replication);
            if replication > brokers {
                findings.push(Finding::error(
                    "topics.replication",
                    format!(
                        "topics are to have {replication} copies, and there are {brokers} brokers"
                    ),
                    format!("set `topics.replication` to {brokers} or less"),
                ));
            }
            findings.push(match checkpoint {
                None => Finding::ok("checkpoint_topic", "is made at the first start"),
                Some(1) => Finding::ok("checkpoint_topic", "is there"),
                Some(partitions) => Finding::error(
                    "checkpoint_topic",
                    format!(
                        "topic {} has {partitions} partitions",
                        site.checkpoint_topic
                    ),
                    "set `checkpoint_topic` to another name: a topic of one partition is made",
                ),
            });
        }
        Err(error) => findings.push(unreachable(&error)),
    }
    findings.extend(site.registry.iter().map(Registry::check));
    if site.config.delivery == Delivery::AtLeastOnce {
        findings.push(Finding::warning(
            "delivery",
            "consumers may see changes again after an interruption, and a second daemon is not fenced",
            "set `delivery: exactly_once`",
        ));
    }
    if site.config.skips(Operation::Truncate) {
        findings.push(Finding::ok(
            "skipped_operations",
            "truncates are left out, as by default in Debezium: consumers keep the rows",
        ));
    }
    findings
}

fn unreachable(error: &Error) -> Finding {
    let mut finding = Finding::from_error("brokers", error);
    if finding.remedy.is_none() {
        finding.remedy = Some(
            "correct `brokers`, and `security.protocol` and `ssl.ca.location` in `properties`"
                .to_owned(),
        );
    }
    finding
}
