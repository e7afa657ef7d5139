//! Tables for people.

/// Prints columns as wide as their widest cell; numbers to the right.
pub(super) fn print(headings: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([headings[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let is_number = |cell: &str| cell == "-" || cell.parse::<f64>().is_ok();
    let right: Vec<bool> = (0..headings.len())
        .map(|column| !rows.is_empty() && rows.iter().filter_map(|row| row.get(column)).all(|cell| is_number(cell)))
        .collect();
    let mut table = String::new();
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            line += &if right[column] { format!("{padding}{cell}") } else { format!("{cell}{padding}") };
            line += "  ";
        }
        table += line.trim_end();
        table += "\n";
    }
    crate::output::print(format_args!("{table}"))
}
