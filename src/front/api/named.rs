//! How a request names what it is about: an uuid, or `vg/lv`. In a path and in a query it is decoded exactly once.

use crate::model::action::Reference;
use crate::model::bounds::shown;
use crate::model::names::{Name, Uuid, VolumeName};
use crate::model::refusal::{Code, Refusal};

/// As many letters and digits as the guard gives a job's id.
const JOB_ID_LEN: usize = 26;

/// As it stands in JSON, and in a path once that is decoded.
///
/// # Errors
/// When it is neither an uuid nor two names.
pub(super) fn reference(text: &str) -> Result<Reference, Refusal> {
    if let Some(uuid) = uuid(text) {
        return Ok(Reference::Uuid(uuid));
    }
    let named = text.split_once('/').and_then(|(vg, lv)| {
        let (vg, lv) = (Name::parse(vg).ok()?, Name::parse(lv).ok()?);
        Some(Reference::Name(VolumeName { vg, lv }))
    });
    named.ok_or_else(|| {
        let expected = "the uuid of a logical volume, or the names of its group and its own with a slash between";
        let detail = format!("a volume: found {}, expected {expected}", shown(text));
        Refusal::new(Code::InvalidName, detail)
    })
}

/// In LVM's form or without its hyphens: nothing between.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::parse(text).ok()?;
    let is_form = text == uuid.as_str() || text == uuid.lvm_form();
    is_form.then_some(uuid)
}

/// # Errors
/// When no job has such an id: it is not found.
pub(super) fn job(text: &str) -> Result<String, Refusal> {
    let is_id =
        text.len() == JOB_ID_LEN && text.chars().all(|letter| letter.is_ascii_alphanumeric());
    if is_id {
        return Ok(text.to_owned());
    }
    let detail = format!("no job {}", shown(text));
    Err(Refusal::new(Code::NotFound, detail))
}

/// Undoes percent-encoding, once. A plus stands for itself: LVM's names have some.
///
/// # Errors
/// When what follows a percent sign are no two hexadecimal digits, or the whole is not UTF-8.
pub(super) fn decoded(text: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let value = digit(rest.next()).zip(digit(rest.next()));
        let value = value.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        bytes.push(value.ok_or_else(|| undecodable(text))?);
    }
    String::from_utf8(bytes).map_err(|_| undecodable(text))
}

fn undecodable(text: &str) -> Refusal {
    let detail = format!("{}: expected percent-encoded UTF-8", shown(text));
    Refusal::new(Code::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_named_in_three_ways() {
        let plain = "HeDn2l9XRhaBcD1234wxyZ0aA1b2C3d4";
        let hyphens = "HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4";
        for uuid in [plain, hyphens] {
            let found = reference(uuid).expect("a literal uuid");
            assert_eq!(found.to_string(), hyphens);
        }
        assert_eq!(reference("vg/lv").expect("two names").to_string(), "vg/lv");
        for bad in [
            "",
            "vg",
            "vg/",
            "/lv",
            "vg/lv/x",
            "-vg/lv",
            "../lv",
            "/dev/vg/lv",
            "@tag",
            "vg%2Flv",
            "vg/lv\n",
            "HeDn2l9XRhaBcD1234wxyZ0aA1b2C3d-4",
            "HeDn2l9XRhaBcD1234wxyZ0aA1b2C3d",
        ] {
            assert_eq!(
                reference(bad).expect_err(bad).code,
                Code::InvalidName,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn decoding_happens_once() {
        for (text, expected) in [
            ("vg%2Flv", Some("vg/lv")),
            ("vg%252flv", Some("vg%2flv")),
            ("a+b", Some("a+b")),
            ("%C3%BC", Some("ü")),
            ("%00", Some("\0")),
            ("%C3", None),
            ("%", None),
            ("%2", None),
            ("%+f", None),
        ] {
            assert_eq!(decoded(text).ok().as_deref(), expected, "{text}");
        }
    }
}
