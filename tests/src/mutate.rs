//! Random mutation of documents by a seed: what a forger, a careless writer or a broken disk may
//! make of a bundle. It understands JSON, base64, numbers and signed notes, and takes parts from a
//! second genuine document, so that many results are almost valid.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Pseudorandom number generator (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Generator with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Random number below `end`, which must not be zero.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    /// Random element of `items`, which must not be empty.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Text of `document` with one mutation, and a description of it. `donor` is a document of the same
/// kind whose parts may be used.
pub fn mutate(document: &Value, donor: &Value, random: &mut Random) -> (String, String) {
    if random.below(20) == 0 {
        return mutate_text(&document.to_string(), random);
    }
    let mut changed = document.clone();
    let mut paths = Vec::new();
    collect_paths(document, &mut String::new(), &mut paths);
    let path = random.one_of(&paths).clone();
    let what = match random.below(10) {
        0 | 1 => remove(&mut changed, &path),
        2 | 3 => transplant(&mut changed, donor, &path),
        _ => change(changed.pointer_mut(&path).expect("one of its paths"), random),
    };
    (changed.to_string(), format!("{path}: {what}"))
}

/// Paths of all values below the root.
fn collect_paths(value: &Value, here: &mut String, paths: &mut Vec<String>) {
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(name, part)| (name.clone(), part)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => return,
    };
    for (name, part) in parts {
        let length = here.len();
        here.push('/');
        here.push_str(&name);
        paths.push(here.clone());
        collect_paths(part, here, paths);
        here.truncate(length);
    }
}

fn remove(document: &mut Value, path: &str) -> String {
    let (parent, name) = path.rsplit_once('/').expect("paths begin with a slash");
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(name)),
        Some(Value::Array(list)) => drop(list.remove(name.parse().expect("an index"))),
        _ => unreachable!("a path has a parent"),
    }
    "removed".to_owned()
}

fn transplant(document: &mut Value, donor: &Value, path: &str) -> String {
    let theirs = donor.pointer(path).cloned().unwrap_or(Value::Null);
    *document.pointer_mut(path).expect("one of its paths") = theirs;
    "the other's".to_owned()
}

fn change(value: &mut Value, random: &mut Random) -> String {
    if random.below(8) == 0 {
        let other_types =
            [json!(null), json!(""), json!(0), json!(-1), json!({}), json!([]), json!(true)];
        *value = random.one_of(&other_types).clone();
        return format!("is now {value}");
    }
    match value {
        Value::String(text) => change_text(text, random),
        Value::Array(list) => change_list(list, random),
        Value::Object(map) => change_names(map, random),
        Value::Number(_) => {
            *value = json!(random.next() as i64);
            "another number".to_owned()
        }
        Value::Bool(_) | Value::Null => {
            *value = json!(false);
            "false".to_owned()
        }
    }
}

fn change_list(list: &mut Vec<Value>, random: &mut Random) -> String {
    match random.below(3) {
        0 => list.clear(),
        1 => list.reverse(),
        _ => list.extend(list.first().cloned()),
    }
    format!("a list of {}", list.len())
}

/// Renames a field to another spelling, or adds an unknown one.
fn change_names(map: &mut Map<String, Value>, random: &mut Random) -> String {
    let names: Vec<String> = map.keys().cloned().collect();
    let Some(name) = names.get(random.below(names.len().max(1))) else {
        map.insert("x".to_owned(), json!(1));
        return "a field x".to_owned();
    };
    let part = map[name].clone();
    let other = match random.below(3) {
        0 => snake_case(name),
        1 => name.to_uppercase(),
        _ => "unknownField".to_owned(),
    };
    if random.below(2) == 0 {
        map.remove(name);
    }
    map.insert(other.clone(), part);
    format!("{name} as {other}")
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn change_text(text: &mut String, random: &mut Random) -> String {
    if let Ok(number) = text.parse::<i64>() {
        let others = [number.wrapping_add(1), number.wrapping_sub(1), 0, -number, i64::MAX];
        *text = random.one_of(&others).to_string();
        return "another number in text".to_owned();
    }
    match STANDARD.decode(&*text) {
        Ok(bytes) if bytes.len() > 8 => {
            let (bytes, what) = change_bytes(bytes, random);
            *text = STANDARD.encode(bytes);
            what
        }
        _ => change_line(text, random),
    }
}

/// Mutates decoded base64: JSON as JSON, everything else as bytes.
fn change_bytes(mut bytes: Vec<u8>, random: &mut Random) -> (Vec<u8>, String) {
    if let Ok(mut inner @ Value::Object(_)) = serde_json::from_slice::<Value>(&bytes)
        && random.below(4) > 0
    {
        let mut paths = Vec::new();
        collect_paths(&inner, &mut String::new(), &mut paths);
        let path = random.one_of(&paths).clone();
        let what = change(inner.pointer_mut(&path).expect("one of its paths"), random);
        return (inner.to_string().into_bytes(), format!("inside, {path}: {what}"));
    }
    let at = random.below(bytes.len());
    let what = match random.below(6) {
        0 => {
            bytes.truncate(at);
            "cut"
        }
        1 => {
            bytes.push(0);
            "a zero more"
        }
        2 => {
            bytes.insert(at, 0);
            "a zero inside"
        }
        _ => {
            bytes[at] ^= 1 << random.below(8);
            "a bit"
        }
    };
    (bytes, format!("{what} at byte {at}"))
}

/// Mutates any other text: signed notes, names, media types.
fn change_line(text: &mut String, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let at = random.below(lines.len());
    let what = match random.below(5) {
        0 => {
            lines.remove(at);
            "without a line"
        }
        1 => {
            lines.insert(at, lines[at].clone());
            "a line twice"
        }
        2 => {
            lines[at].push(' ');
            "a blank more"
        }
        3 => {
            lines[at].insert(0, 'x');
            "a letter more"
        }
        _ => {
            lines[at].pop();
            "a letter less"
        }
    };
    *text = lines.join("\n");
    format!("{what}, line {at}")
}

/// Mutates the text of the document, regardless of its structure.
fn mutate_text(text: &str, random: &mut Random) -> (String, String) {
    let inside = text.strip_prefix('{').expect("an object");
    match random.below(4) {
        0 => (format!("{text} {{}}"), "text: something behind it".to_owned()),
        1 => (format!("\u{feff}{text}"), "text: a byte order mark".to_owned()),
        2 => {
            let media = "application/vnd.dev.sigstore.bundle.v0.3+json";
            (format!("{{\"mediaType\":\"{media}\",{inside}"), "text: a key twice".to_owned())
        }
        _ => (format!("{{\"x\":1e999,{inside}"), "text: an endless number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let document = json!({ "a": ["1", { "b": "aGVsbG8gd29ybGQhIQ==" }], "c": "x\ny" });
        for seed in 0..500 {
            let once = mutate(&document, &json!({}), &mut Random::new(seed));
            assert_eq!(once, mutate(&document, &json!({}), &mut Random::new(seed)));
        }
        let all: std::collections::BTreeSet<_> =
            (0..500).map(|seed| mutate(&document, &json!({}), &mut Random::new(seed)).0).collect();
        assert!(all.len() > 50, "{}", all.len());
    }
}
