//! The table of the result.

/// One line of the result: the measured quantity, our figure, the other one, their ratio.
#[derive(Clone)]
pub(crate) struct Row {
    what: String,
    ours: String,
    other: String,
    ratio: String,
}

/// The direction in which a figure improves.
#[derive(Clone, Copy)]
pub(crate) enum Better {
    Less,
    More,
}

impl Row {
    /// A figure of which less is better, beside the peer's: the ratio says how many times less.
    pub(crate) fn against(what: &str, unit: &str, ours: f64, peer: f64) -> Self {
        let other = format!("{peer:.1} {unit}");
        Self::new(what, format!("{ours:.1} {unit}"), other, ratio(peer, ours, 1, " x less"))
    }

    /// A figure for much of something beside our own for `little` of it: the ratio says how many
    /// times more.
    pub(crate) fn grown(what: &str, unit: &str, many: f64, (little, one): (&str, f64)) -> Self {
        let other = format!("(ours, {little}: {one:.1} {unit})");
        Self::new(what, format!("{many:.1} {unit}"), other, ratio(many, one, 1, " x more"))
    }

    /// A figure of a new program beside that of an old one: above 1, the new one is better.
    pub(crate) fn compared(what: &str, unit: &str, better: Better, [new, old]: [f64; 2]) -> Self {
        let ratio = match better {
            Better::Less => ratio(old, new, 2, ""),
            Better::More => ratio(new, old, 2, ""),
        };
        Self::new(what, format!("{new:.2} {unit}"), format!("{old:.2} {unit}"), ratio)
    }

    /// A figure with no peer in this run; `goal` is the one it was built to meet.
    pub(crate) fn alone(what: &str, ours: String, goal: &str) -> Self {
        Self::new(what, ours, format!("(goal: {goal})"), String::new())
    }

    /// A figure without and with hostile tenants, and the goal of the latter.
    pub(crate) fn beside(what: &str, without: String, with: String, goal: &str) -> Self {
        Self::new(what, without, with, goal.to_owned())
    }

    fn new(what: &str, ours: String, other: String, ratio: String) -> Self {
        Self { what: what.to_owned(), ours, other, ratio }
    }
}

/// Prints the names of the columns.
pub(crate) fn print_head([ours, other, ratio]: [&str; 3]) {
    println!("| measured | {ours} | {other} | {ratio} |\n|---|---|---|---|");
}

/// Prints the rows of one part.
pub(crate) fn print(rows: &[Row]) {
    for Row { what, ours, other, ratio } in rows {
        println!("| {what} | {ours} | {other} | {ratio} |");
    }
}

fn ratio(above: f64, below: f64, places: usize, words: &str) -> String {
    if below > 0.0 { format!("{:.places$}{words}", above / below) } else { "-".to_owned() }
}
