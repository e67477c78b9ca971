//! One text for each JSON value, however it is spelled: keys sorted, no blanks, strings written one way.
//! Digits are never read as a machine's numbers, which would lose some of them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The text of a JSON document; `number` says how a number is written.
pub fn json(document: &str, number: fn(&str) -> String) -> serde_json::Result<String> {
    let mut out = String::with_capacity(document.len());
    write(serde_json::from_str(document)?, number, &mut out)?;
    Ok(out)
}

fn write(value: &RawValue, number: fn(&str) -> String, out: &mut String) -> serde_json::Result<()> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let object: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
            out.push('{');
            for (key, value) in object {
                out.push_str(&serde_json::to_string(&key)?);
                out.push(':');
                write(value, number, out)?;
                out.push(',');
            }
            out.push('}');
        }
        Some(b'[') => {
            let list: Vec<&RawValue> = serde_json::from_str(text)?;
            out.push('[');
            for value in list {
                write(value, number, out)?;
                out.push(',');
            }
            out.push(']');
        }
        Some(b'"') => out.push_str(&serde_json::to_string(&serde_json::from_str::<String>(text)?)?),
        Some(b'-' | b'0'..=b'9') => out.push_str(&number(text)),
        _ => out.push_str(text),
    }
    Ok(())
}

/// A number by its value: `1.50`, `15e-1` and `1.5` are one.
pub fn value(number: &str) -> String {
    let (sign, unsigned) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return "0".into();
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let shift = i64::try_from(zeros).ok().zip(i64::try_from(fraction.len()).ok()).map(|(zeros, places)| zeros - places);
    let exponent = exponent.parse::<i64>().ok().zip(shift).and_then(|(exponent, shift)| exponent.checked_add(shift));
    exponent.map_or_else(|| number.to_owned(), |exponent| format!("{sign}{significant}e{exponent}"))
}
