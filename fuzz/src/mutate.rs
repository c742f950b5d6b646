//! Changes one value of a message and leaves it a message.
//!
//! A change of single bytes mostly breaks the JSON, which is one thing to try
//! among many: behind the parser lie the checks of what the values mean.

use serde_json::{Value, json};

/// What strings are checked for: null bytes, cursor movements, ids, users,
/// instructions in hexadecimal, names of variants.
const TEXTS: [&str; 12] = [
    "\0",
    "\x1b[2J",
    "\u{9b}",
    "\n",
    ":",
    "a:b:c",
    "/",
    "ä",
    "0123456789abcdef",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "init",
    "internal",
];

/// The ends of ranges: signals, sectors, sizes.
const NUMBERS: [u64; 14] =
    [0, 1, 64, 65, 255, 256, 511, 512, 65_536, 1 << 32, (1 << 41) - 1, i64::MAX as u64, u64::MAX - 511, u64::MAX];

/// The message after its selector (see [`crate::frames`]) with one value
/// changed; `None` if there is no message.
pub fn message(data: &[u8], seed: u32) -> Option<Vec<u8>> {
    let (selector, bytes) = data.split_first()?;
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    let mut random = Random(u64::from(seed) | 1 << 32);
    let mut index = random.below(count(&value));
    change(nth(&mut value, &mut index)?, &mut random);
    Some([&[*selector], value.to_string().as_bytes()].concat())
}

/// The values within a value, and itself.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

fn nth<'a>(value: &'a mut Value, index: &mut usize) -> Option<&'a mut Value> {
    if *index == 0 {
        return Some(value);
    }
    *index -= 1;
    match value {
        Value::Array(values) => values.iter_mut().find_map(|value| nth(value, index)),
        Value::Object(fields) => fields.values_mut().find_map(|value| nth(value, index)),
        _ => None,
    }
}

fn change(value: &mut Value, random: &mut Random) {
    match value {
        _ if random.below(16) == 0 => {
            *value = random.pick(&[json!(null), json!(true), json!([]), json!({}), json!("")])
        }
        Value::Null => *value = if random.below(2) == 0 { json!(random.number()) } else { json!(random.pick(&TEXTS)) },
        Value::Bool(is) => *is = !*is,
        Value::Number(_) => *value = json!(random.number()),
        Value::String(text) => change_text(text, random),
        Value::Array(values) if values.is_empty() => values.push(json!(random.pick(&TEXTS))),
        Value::Array(values) => {
            let index = random.below(values.len());
            match random.below(3) {
                0 => drop(values.remove(index)),
                _ => values.insert(index, values[index].clone()),
            }
        }
        Value::Object(fields) => {
            let name = fields.keys().nth(random.below(fields.len().max(1))).cloned();
            if let Some(name) = name {
                fields.remove(&name);
            }
        }
    }
}

fn change_text(text: &mut String, random: &mut Random) {
    match random.below(8) {
        0 => *text = random.pick(&TEXTS).to_owned(),
        // Beyond what words are cut to.
        1 => *text = text.repeat(5000 / text.len().max(1)),
        2 => text.truncate(place(text, random)),
        _ => text.insert_str(place(text, random), random.pick(&TEXTS)),
    }
}

/// A place between two characters.
fn place(text: &str, random: &mut Random) -> usize {
    let index = random.below(text.len() + 1);
    (0..=index).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

/// Steps of splitmix64: the fuzzer's seed decides everything.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    fn number(&mut self) -> u64 {
        let number = self.pick(&NUMBERS);
        if self.below(4) == 0 { self.next() >> self.below(64) } else { number }
    }
}
