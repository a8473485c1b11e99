//! How bad a vulnerability is, from words and from CVSS vectors (FIRST) of every version.

use palisade_model::Severity;

/// A rating in words, as publishers write them.
pub(crate) fn word(word: &str) -> Option<Severity> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" | "important" => Severity::High,
        "medium" | "moderate" => Severity::Medium,
        "low" | "minor" => Severity::Low,
        "negligible" | "none" | "unimportant" | "informational" => Severity::Negligible,
        _ => return None,
    })
}

/// The base score (0.0 to 10.0) and the rating of a vector of CVSS 2, 3 or 4.
///
/// Version 2 has no word for 9.0 and above; the National Vulnerability Database calls it high,
/// and so does this.
pub fn score(vector: &str) -> Option<(f64, Severity)> {
    // An untidy vector ends in `/`, which the standard does not allow; version 2 stands in
    // parentheses.
    let vector = vector.trim().trim_end_matches('/');
    let vector = vector.strip_prefix('(').and_then(|v| v.strip_suffix(')')).unwrap_or(vector);
    if vector.len() > VECTOR_BYTES_MAX {
        return None;
    }
    let score = if vector.starts_with("CVSS:") {
        vector.parse::<cvss::Cvss>().ok()?.score()
    } else {
        version_2(vector)?
    };
    let is_version_2 = !vector.starts_with("CVSS:");
    let severity = match score {
        score if score >= 9.0 && !is_version_2 => Severity::Critical,
        score if score >= 7.0 => Severity::High,
        score if score >= 4.0 => Severity::Medium,
        score if score > 0.0 || is_version_2 => Severity::Low,
        _ => Severity::Negligible,
    };
    Some((score, severity))
}

/// No vector of the standards is as long.
const VECTOR_BYTES_MAX: usize = 512;

/// The base score of CVSS 2 ("A Complete Guide to the Common Vulnerability Scoring System
/// Version 2.0", section 3.2.1).
fn version_2(vector: &str) -> Option<f64> {
    let mut base = [None; 6];
    for part in vector.split('/') {
        let (index, weight) = match part {
            "AV:L" => (0, 0.395),
            "AV:A" => (0, 0.646),
            "AV:N" => (0, 1.0),
            "AC:H" => (1, 0.35),
            "AC:M" => (1, 0.61),
            "AC:L" => (1, 0.71),
            "Au:M" => (2, 0.45),
            "Au:S" => (2, 0.56),
            "Au:N" => (2, 0.704),
            "C:N" => (3, 0.0),
            "C:P" => (3, 0.275),
            "C:C" => (3, 0.660),
            "I:N" => (4, 0.0),
            "I:P" => (4, 0.275),
            "I:C" => (4, 0.660),
            "A:N" => (5, 0.0),
            "A:P" => (5, 0.275),
            "A:C" => (5, 0.660),
            // Temporal and environmental metrics do not change the base score.
            other => {
                let name = other.split(':').next().unwrap_or_default();
                let known = ["E", "RL", "RC", "CDP", "TD", "CR", "IR", "AR"];
                if known.contains(&name) {
                    continue;
                }
                return None;
            }
        };
        if base[index].replace(weight).is_some() {
            return None;
        }
    }
    let [av, ac, au, c, i, a] = base;
    let (av, ac, au): (f64, f64, f64) = (av?, ac?, au?);
    let (c, i, a): (f64, f64, f64) = (c?, i?, a?);
    let impact = 10.41 * (1.0 - (1.0 - c) * (1.0 - i) * (1.0 - a));
    let exploitability = 20.0 * av * ac * au;
    let f = if impact == 0.0 { 0.0 } else { 1.176 };
    let score = (0.6 * impact + 0.4 * exploitability - 1.5) * f;
    Some((score * 10.0).round() / 10.0)
}

/// Of several vectors the one with the highest score, with what it says.
pub(crate) fn worst<'a>(
    vectors: impl Iterator<Item = &'a str>,
) -> Option<(&'a str, f64, Severity)> {
    let scored = vectors.filter_map(|v| score(v).map(|(score, severity)| (v, score, severity)));
    scored.reduce(|a, b| if b.1 > a.1 { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_every_version_have_the_scores_of_the_standards() {
        let check = |vector: &str, expected: Option<(f64, Severity)>| {
            assert_eq!(score(vector), expected, "{vector}");
        };
        // The three worked examples of the guide of version 2.
        check("AV:N/AC:L/Au:N/C:N/I:N/A:C", Some((7.8, Severity::High)));
        check("AV:N/AC:L/Au:N/C:C/I:C/A:C", Some((10.0, Severity::High)));
        check("(AV:L/AC:H/Au:N/C:C/I:C/A:C)", Some((6.2, Severity::Medium)));
        check("AV:N/AC:M/Au:N/C:P/I:N/A:N/E:F/RL:OF", Some((4.3, Severity::Medium)));
        check("AV:L/AC:H/Au:M/C:N/I:N/A:N", Some((0.0, Severity::Low)));
        let three = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
        check(three, Some((9.8, Severity::Critical)));
        check(&format!("{three}/"), Some((9.8, Severity::Critical)));
        check("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", Some((0.0, Severity::Negligible)));
        let four = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N";
        check(four, Some((9.3, Severity::Critical)));
        for bad in ["", "CVSS:3.1", "AV:N", "AV:N/AV:N/AC:L/Au:N/C:C/I:C/A:C", "CVSS:9/x", "é"] {
            check(bad, None);
        }
        check(&"AV:N/".repeat(1000), None);
        let worst = worst([four, three, "x"].into_iter()).unwrap();
        assert_eq!(worst.0, three);
    }

    #[test]
    fn words_of_the_field() {
        assert_eq!(word("MODERATE"), Some(Severity::Medium));
        assert_eq!(word(" Important"), Some(Severity::High));
        assert_eq!(word("9.8"), None);
    }
}
