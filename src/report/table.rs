//! Aligned columns of text.

use console::measure_text_width;

/// `rows` with each column as wide as its widest cell, two blanks between, no blanks at line ends.
/// Colours in cells do not count as width.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - measure_text_width(cell)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let rows = [vec!["a".to_owned(), "long".to_owned(), String::new()], vec!["bbb".to_owned(), "c".to_owned()]];
        assert_eq!(aligned(&rows), "a    long\nbbb  c\n");
    }
}
