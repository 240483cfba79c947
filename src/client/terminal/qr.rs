//! A QR code in lines of text.

use fast_qr::{ECL, QRBuilder, QRCode};

/// The light border that readers want, in modules (ISO/IEC 18004).
const BORDER: usize = 4;

/// Black on white, whatever the colours of the terminal are.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";

/// Returns the lines of a URL's QR code, two rows of modules each. Without colours, light modules are the ones that are drawn, as
/// most terminals are dark.
///
/// # Errors
/// With why there is none: the window is too narrow, or the URL too long.
pub(super) fn lines(url: &str, width: usize, has_colors: bool) -> Result<Vec<String>, String> {
    let code = QRBuilder::new(url).ecl(ECL::L).build();
    let code = code.map_err(|_| "the URL is too long for a QR code".to_owned())?;
    let side = code.size + 2 * BORDER;
    if width < side {
        return Err(format!("the window is too narrow for the QR code: it needs {side} columns"));
    }
    Ok((0..side).step_by(2).map(|row| line(&code, row, has_colors)).collect())
}

/// Returns two rows as a line.
fn line(code: &QRCode, row: usize, has_colors: bool) -> String {
    let blocks = (0..code.size + 2 * BORDER).map(|column| {
        let [upper, lower] = [row, row + 1].map(|row| is_dark(code, row, column) == has_colors);
        match (upper, lower) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        }
    });
    let blocks: String = blocks.collect();
    if has_colors { format!("{BLACK_ON_WHITE}{blocks}\x1b[0m") } else { blocks }
}

/// Returns whether a module is dark. Those of the border, and those below the last row, are light.
fn is_dark(code: &QRCode, row: usize, column: usize) -> bool {
    let inside = |at: usize| at.checked_sub(BORDER).filter(|&at| at < code.size);
    match (inside(row), inside(column)) {
        (Some(row), Some(column)) => code[row][column].value(),
        (Some(_) | None, Some(_) | None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://my-app.relay.example";

    /// The modules that lines show: dark ones are true.
    fn read(lines: &[String], has_colors: bool) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in lines {
            let blocks = line.trim_start_matches(BLACK_ON_WHITE).trim_end_matches("\x1b[0m");
            for half in ["█▀", "█▄"] {
                rows.push(blocks.chars().map(|block| half.contains(block) == has_colors).collect());
            }
        }
        rows
    }

    #[test]
    fn a_qr_code_has_its_modules_and_a_light_border() {
        let code = QRBuilder::new(URL).ecl(ECL::L).build().unwrap();
        let side = code.size + 2 * BORDER;
        for has_colors in [true, false] {
            let rows = read(&lines(URL, side, has_colors).unwrap(), has_colors);
            assert_eq!(rows.len(), side.next_multiple_of(2));
            for (y, row) in rows.iter().enumerate() {
                assert_eq!(row.len(), side);
                for (x, dark) in row.iter().enumerate() {
                    let is_inside = [x, y].iter().all(|at| (BORDER..BORDER + code.size).contains(at));
                    assert_eq!(*dark, is_inside && code[y - BORDER][x - BORDER].value(), "{x} {y}");
                }
            }
        }
    }

    #[test]
    fn a_qr_code_that_does_not_fit_is_not_drawn() {
        assert!(lines(URL, 30, true).unwrap_err().contains("it needs 33 columns"));
        assert!(lines(&"x".repeat(5000), 500, true).unwrap_err().contains("too long"));
    }
}
