//! Columns of text, aligned for a terminal.

const COLUMN_GAP: &str = "  ";

/// Rows of cells, the first being the heads of the columns.
pub(super) struct Table<const N: usize> {
    /// Numbers are aligned at their end, words at their start.
    pub(super) sides: [Side; N],
    pub(super) rows: Vec<[String; N]>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Left,
    Right,
}

impl<const N: usize> Table<N> {
    pub(super) fn text(&self) -> String {
        let widths: [usize; N] = std::array::from_fn(|column| {
            let lengths = self.rows.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or_default()
        });
        self.rows
            .iter()
            .map(|row| self.line(row, &widths))
            .collect()
    }

    fn line(&self, row: &[String; N], widths: &[usize; N]) -> String {
        let cells =
            row.iter()
                .zip(widths)
                .zip(self.sides)
                .map(|((cell, width), side)| match side {
                    Side::Left => format!("{cell:<width$}"),
                    Side::Right => format!("{cell:>width$}"),
                });
        let line = cells.collect::<Vec<_>>().join(COLUMN_GAP);
        format!("{}\n", line.trim_end())
    }
}
