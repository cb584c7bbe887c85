//! A record's headers while it is being written.
//!
//! Invariant: one memory for the headers of all records, one after another.

/// Names and values, one after another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    bytes: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(usize, usize)>,
}

impl Headers {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a header whose value is what `write` appends.
    pub(crate) fn push(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(name.as_bytes());
        let named = self.bytes.len();
        write(&mut self.bytes);
        self.ends.push((named, self.bytes.len()));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(named, end)| {
            let name = std::str::from_utf8(&self.bytes[start..named]).unwrap_or_default();
            start = end;
            (name, &self.bytes[named..end])
        })
    }
}
