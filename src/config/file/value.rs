//! Values of a file, as the texts that their flags would have.

use clap::Arg;
use toml::Spanned;
use toml::de::DeValue;

/// Returns a value as the texts that its flag would have, or what is wrong with its type.
pub(super) fn texts(value: &DeValue<'_>, arg: &Arg) -> Result<Vec<String>, String> {
    if !arg.get_action().takes_values() {
        return match value {
            DeValue::Boolean(is_on) => Ok(vec![is_on.to_string()]),
            _ => Err("is on or off: write true or false, without quotes".to_owned()),
        };
    }
    let DeValue::Array(values) = value else { return text(value).map(|text| vec![text]) };
    if arg.get_value_delimiter().is_none() {
        return Err("is a list: write one value".to_owned());
    }
    if values.is_empty() {
        return Err("is an empty list: write a value, or leave the line out".to_owned());
    }
    values.iter().map(Spanned::get_ref).map(text).collect()
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(is_on) => Ok(is_on.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.map(|number| number.to_string()).map_err(|_| "is a number that is too large".to_owned())
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(format!("cannot be of the type {}: write a string or a whole number", value.type_str()))
        }
    }
}
