//! A YAML file of ours in block style, line by line: keys, values, comments.

/// A key of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The line, from 0.
    pub(crate) line: usize,
    /// The line after its last one.
    pub(crate) end: usize,
    pub(crate) indent: usize,
    /// From the top: `["sinks", "lake", "url"]`.
    pub(crate) path: Vec<String>,
    /// What stands behind the colon, without the comment; empty for a mapping below.
    pub(crate) value: String,
    /// The comment behind the value.
    pub(crate) remark: String,
    /// The comment above.
    pub(crate) comment: String,
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    pub(crate) fn is_mapping(&self) -> bool {
        self.value.is_empty()
    }
}

/// All keys of a text in order.
pub(crate) fn outline(text: &str) -> Vec<Entry> {
    let lines: Vec<_> = text.lines().collect();
    let mut entries: Vec<Entry> = Vec::new();
    let mut comment = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.is_empty() {
            comment.clear();
            continue;
        }
        if let Some(text) = trimmed.strip_prefix('#') {
            comment.push(text.trim().to_owned());
            continue;
        }
        let indent = line.len() - trimmed.len();
        let (name, rest) = trimmed
            .split_once(':')
            .expect("every line of ours is a key");
        let (value, remark) = match rest.split_once(" #") {
            Some((value, remark)) => (value.trim(), remark.trim()),
            None => (rest.trim(), ""),
        };
        for entry in entries.iter_mut().filter(|entry| entry.end == usize::MAX) {
            if entry.indent >= indent {
                entry.end = number;
            }
        }
        let mut path: Vec<String> = entries
            .iter()
            .filter(|entry| entry.end == usize::MAX)
            .map(|entry| entry.name().to_owned())
            .collect();
        path.push(name.to_owned());
        entries.push(Entry {
            line: number,
            end: usize::MAX,
            indent,
            path,
            value: value.to_owned(),
            remark: remark.to_owned(),
            comment: std::mem::take(&mut comment).join(" "),
        });
    }
    for entry in &mut entries {
        entry.end = entry.end.min(lines.len());
    }
    entries
}

/// The names of the keys directly below a path.
pub(crate) fn children<'a>(entries: &'a [Entry], path: &[String]) -> Vec<&'a Entry> {
    entries
        .iter()
        .filter(|entry| entry.path.len() == path.len() + 1 && entry.path.starts_with(path))
        .collect()
}
