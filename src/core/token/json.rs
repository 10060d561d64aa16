//! JSON in which no object has two members of one name, at any level (RFC 8259 section 4 leaves
//! them undefined; RFC 7515 section 4 and RFC 7519 section 4 tell a verifier to refuse them). Two
//! readers of one token must never see two different claims.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one JSON object, whole, without repeated members. Nesting is bounded by `serde_json` (128).
///
/// # Errors
/// When the bytes are not UTF-8, not JSON, not an object, or a member name repeats.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::from_slice::<Unrepeated>(bytes)?.0 {
        Value::Object(members) => Ok(members),
        _ => Err(serde_json::Error::custom("not a JSON object")),
    }
}

/// A double keeps fifteen digits for certain (RFC 8259 section 6), and `serde_json` may read the next of it.
const SIXTEEN_DIGITS: f64 = 1e15;

/// Whether no other whole number is read as this one. What does not fit 64 bits, or is written as a fraction
/// or with an exponent, is read as a double, and from sixteen digits on that may be one of others, too.
pub(crate) fn is_exact(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|double| double.abs() < SIXTEEN_DIGITS)
}

/// What a text takes beside its place and its bytes: what an allocator rounds up and writes before it.
pub(crate) const HEAP: usize = 24;

/// How many bytes of memory these members take, rather too many than too few: a tree of nodes with room for
/// eleven, two thirds full as a rule. A few bytes of JSON (`[[],[],…]`) can take ten times as many here.
pub(crate) fn size_of_members(members: &Map<String, Value>) -> usize {
    const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 128;
    let nodes = members.len().div_ceil(7).saturating_mul(NODE);
    let held = members
        .iter()
        .map(|(name, value)| HEAP.saturating_add(name.len()).saturating_add(size_of_held(value)));
    held.fold(nodes, usize::saturating_add)
}

/// What a value takes beside its own place.
pub(crate) fn size_of_held(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => HEAP.saturating_add(text.len()),
        Value::Array(list) => list
            .iter()
            .map(|value| (2 * size_of::<Value>()).saturating_add(size_of_held(value)))
            .fold(HEAP, usize::saturating_add),
        Value::Object(members) => size_of_members(members),
    }
}

struct Unrepeated(Value);

impl<'de> Deserialize<'de> for Unrepeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unrepeated(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Unrepeated(value))) = members.next_entry::<String, Unrepeated>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member name repeats"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_member_is_refused_at_every_level_and_in_every_spelling() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            "[]",
            "1",
            "null",
            "{} {}",
            "{",
            "",
            r#"{"a":"\ud800"}"#,
        ] {
            assert!(object(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn nesting_without_end_is_refused_instead_of_overflowing_the_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(object(deep.as_bytes()).is_err());
    }

    #[test]
    fn what_is_read_equals_what_serde_json_reads() {
        let text = br#"{"a":[1,-2,1.5,true,null,"x",{"y":{}}],"b":18446744073709551615}"#;
        let plain: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(Value::Object(object(text).unwrap()), plain);
    }
}
