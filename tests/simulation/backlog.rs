//! A sink that has a backlog: how many commits it takes.

use std::time::Duration;

use cdc::admin::control::Command;
use cdc::pipeline::Mode;
use cdc_api::testing::database::Mix;

use super::World;

/// Transactions that wait for the daemon.
const WAITING: u64 = 2_000;

impl World {
    /// Small transactions that waited while the daemon was paused, and the commits in which a sink then takes them, all
    /// being well. The source is read beside it, so that the sink sees a part of the backlog at a time.
    ///
    /// # Errors
    /// When the daemon does not do its work.
    pub(crate) fn backlog() -> Result<(u64, u64), String> {
        let mut world = Self::new(1);
        world.sinks.truncate(1);
        world.weather = 0;
        world.tuning.linger = Duration::ZERO;
        world.tuning.max_rows = 1_000_000;
        world.tuning.max_bytes = None;
        let commits = Self::runtime().block_on(async {
            let mut life = world.begin(Mode::Continuous);
            world.calm(&mut life).await?;
            life.ask(|reply| Command::Pause { reply }).await?;
            world.workload.set_mix(Mix {
                schema: 0,
                truncate: 0,
                table: 0,
                drop: 0,
                swap: 0,
                changes: 4,
                renames: false,
            });
            for _ in 0..WAITING {
                world.workload.step();
            }
            let before = world.sinks[0].1.commits();
            life.ask(|reply| Command::Resume { reply }).await?;
            life.ask(|reply| Command::Wait { sink: None, reply })
                .await?;
            let commits = world.sinks[0].1.commits() - before;
            world.calm(&mut life).await?;
            life.stop(true).await?;
            Ok::<_, String>(commits)
        })?;
        match world.trace.violations().as_slice() {
            [] => Ok((WAITING, commits)),
            breaches => Err(format!("{breaches:#?}")),
        }
    }
}
