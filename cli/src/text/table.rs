//! Columns of text: cells end with a tab, and a column is as wide as its widest cell among
//! consecutive lines that have it (cli.md §1, formatting rules).

use std::fmt::Write;

/// How wide a column is at least, and how far it keeps from the next.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    width_min: usize,
    padding: usize,
}

impl Layout {
    /// Listings of nodes, services, tasks and clusters.
    pub(crate) const LIST: Self = Self { width_min: 0, padding: 2 };
    /// The table of tasks below a page.
    pub(crate) const TASKS: Self = Self { width_min: 4, padding: 4 };
    /// The pages of `inspect`.
    pub(crate) const PAGE: Self = Self { width_min: 8, padding: 8 };

    /// Lines up what `text` separates by tabs. The last cell of a line belongs to no column.
    pub(crate) fn align(self, text: &str) -> String {
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        let mut aligned = String::new();
        for (row, cells) in lines.iter().enumerate() {
            let (last, terminated) = cells.split_last().expect("a split has at least one part");
            for (column, cell) in terminated.iter().enumerate() {
                let width = self.width(&lines, row, column);
                let _ = write!(aligned, "{cell:<width$}");
            }
            aligned.push_str(last);
            aligned.push('\n');
        }
        aligned
    }

    /// The width of a column around one of its rows.
    fn width(self, lines: &[Vec<&str>], row: usize, column: usize) -> usize {
        let has = |line: &&Vec<&str>| line.len() > column + 1;
        let above = lines[..row].iter().rev().take_while(has);
        let below = lines[row..].iter().take_while(has);
        let widest = above.chain(below).map(|line| line[column].chars().count()).max();
        (widest.unwrap_or(0) + self.padding).max(self.width_min)
    }
}

/// A table with a head: names, then a line under each.
pub(crate) struct Table {
    text: String,
}

impl Table {
    pub(crate) fn new(names: &[&str]) -> Self {
        let rules: Vec<_> = names.iter().map(|name| "-".repeat(name.len())).collect();
        Self { text: format!("{}\n{}\n", names.join("\t"), rules.join("\t")) }
    }

    pub(crate) fn row(&mut self, cells: &[&str]) {
        self.text.push_str(&cells.join("\t"));
        self.text.push('\n');
    }

    pub(crate) fn align(&self, layout: Layout) -> String {
        layout.align(&self.text)
    }
}
