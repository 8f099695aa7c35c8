//! Medians and what else is told of samples. Pure.

/// Of at least one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub count: usize,
    pub least: f64,
    pub median: f64,
    /// Below which 99 of 100 lie; the greatest, with fewer samples.
    pub p99: f64,
    pub greatest: f64,
}

/// None without a sample.
#[must_use]
pub fn figures(samples: impl IntoIterator<Item = f64>) -> Option<Figures> {
    let mut sorted: Vec<f64> = samples.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (least, greatest) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    };
    let rank = (sorted.len() * 99).div_ceil(100);
    Some(Figures {
        count: sorted.len(),
        least,
        median,
        p99: sorted[rank - 1],
        greatest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_p99_nearly_the_end() {
        let told = |samples: &[f64]| {
            let figures = figures(samples.iter().copied()).unwrap();
            [figures.least, figures.median, figures.p99, figures.greatest].map(|f| f.to_string())
        };
        assert_eq!(told(&[3.0, 1.0, 2.0]), ["1", "2", "3", "3"]);
        assert_eq!(told(&[4.0, 1.0]), ["1", "2.5", "4", "4"]);
        let many: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(told(&many), ["1", "100.5", "198", "200"]);
        assert_eq!(figures([]), None);
    }
}
