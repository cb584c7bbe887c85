//! The optional metadata of a table map: what the server says of columns beside their types' numbers.
//!
//! Invariant: what is not said is empty or `None`, never guessed.

use std::collections::HashMap;

use cdc_api::{Error, Result};

use crate::wire::{Short, Wire};

/// The optional metadata (`Table_map_event::Optional_metadata_fields`), read.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// A bit for each numeric column, the highest first.
    pub(super) unsigned: Option<Vec<u8>>,
    pub(super) names: Option<Vec<String>>,
    pub(super) key: Vec<usize>,
    /// Of text columns, of ENUM and SET columns.
    pub(super) text: Collated,
    pub(super) listed: Collated,
    pub(super) enums: Vec<Vec<Vec<u8>>>,
    pub(super) sets: Vec<Vec<Vec<u8>>>,
    pub(super) geometries: Vec<u64>,
    pub(super) vectors: Vec<u64>,
}

/// Collations of some columns.
#[derive(Debug, Default)]
pub(super) enum Collated {
    #[default]
    Unsaid,
    /// One for all but some, by their place among these columns.
    Mostly(u64, HashMap<u64, u64>),
    /// One each.
    Each(Vec<u64>),
}

impl Collated {
    pub(super) fn of(&self, place: usize) -> Option<u64> {
        match self {
            Self::Unsaid => None,
            Self::Mostly(most, others) => {
                Some(others.get(&(place as u64)).copied().unwrap_or(*most))
            }
            Self::Each(all) => all.get(place).copied(),
        }
    }

    fn mostly(mut wire: Wire<'_>) -> Result<Self, Short> {
        let most = wire.count()? as u64;
        let mut others = HashMap::new();
        while !wire.is_empty() {
            others.insert(wire.count()? as u64, wire.count()? as u64);
        }
        Ok(Self::Mostly(most, others))
    }

    fn each(wire: Wire<'_>) -> Result<Self, Short> {
        Ok(Self::Each(counts(wire)?))
    }
}

fn counts(mut wire: Wire<'_>) -> Result<Vec<u64>, Short> {
    let mut all = Vec::new();
    while !wire.is_empty() {
        all.push(wire.count()? as u64);
    }
    Ok(all)
}

fn lists(mut wire: Wire<'_>) -> Result<Vec<Vec<Vec<u8>>>, Short> {
    let mut lists = Vec::new();
    while !wire.is_empty() {
        let count = wire.count()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(wire.counted()?.to_vec());
        }
        lists.push(list);
    }
    Ok(lists)
}

impl Said {
    pub(super) fn read(optional: &[u8]) -> Result<Self> {
        let mut said = Self::default();
        let mut wire = Wire(optional);
        while !wire.is_empty() {
            let field = wire.u8()?;
            let value = Wire(wire.counted()?);
            match field {
                1 => said.unsigned = Some(value.0.to_vec()),
                2 => said.text = Collated::mostly(value)?,
                3 => said.text = Collated::each(value)?,
                4 => {
                    let mut value = value;
                    let mut names = Vec::new();
                    while !value.is_empty() {
                        let name = String::from_utf8(value.counted()?.to_vec())
                            .map_err(|_| Error::data("the name of a column is not text"))?;
                        names.push(name);
                    }
                    said.names = Some(names);
                }
                5 => said.sets = lists(value)?,
                6 => said.enums = lists(value)?,
                7 => said.geometries = counts(value)?,
                8 => {
                    let places = counts(value)?;
                    said.key = places
                        .iter()
                        .filter_map(|place| usize::try_from(*place).ok())
                        .collect();
                }
                9 => {
                    // Pairs of column and length of the prefix.
                    let pairs = counts(value)?;
                    said.key = pairs
                        .chunks(2)
                        .filter_map(|pair| usize::try_from(*pair.first()?).ok())
                        .collect();
                }
                10 => said.listed = Collated::mostly(value)?,
                11 => said.listed = Collated::each(value)?,
                13 => said.vectors = counts(value)?,
                // Visibility says nothing here: invisible columns are captured like others.
                _ => {}
            }
        }
        Ok(said)
    }
}
