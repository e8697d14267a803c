//! Quantities of Kubernetes, such as `100m` and `256Mi`.

/// The number that `text` stands for; `None` when it is none.
///
/// Suffixes as in the API's definition of a quantity: `n`, `u`, `m`, `k`, `M`, `G`, `T`, `P`, `E`,
/// their binary forms `Ki` to `Ei`, and a decimal exponent.
pub(super) fn number(text: &str) -> Option<f64> {
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || ".+-".contains(letter))).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        _ => return text.parse().ok().filter(|number: &f64| number.is_finite()),
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suffix_is_read_and_nonsense_is_none() {
        for (text, expected) in [
            ("2", Some(2.0)),
            ("100m", Some(0.1)),
            ("256Mi", Some(268_435_456.0)),
            ("1.5Gi", Some(1_610_612_736.0)),
            ("1e3", Some(1000.0)),
            ("1E", Some(1e18)),
            ("1k", Some(1000.0)),
            ("", None),
            ("Mi", None),
            ("inf", None),
            ("12q", None),
        ] {
            let close = match (number(text), expected) {
                (Some(left), Some(right)) => (left - right).abs() < 1e-9 * right.abs(),
                (left, right) => left == right,
            };
            assert!(close, "{text}: {:?}", number(text));
        }
    }
}
