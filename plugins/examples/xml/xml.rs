//! XML bodies: a reader for the few elements and attributes that matter, which
//! takes nothing that it does not understand. See README.md.
#![no_std]
mod tallyhook;
use tallyhook::{find, trim, Answer, Field, Postback, Reports};

#[no_mangle]
pub extern "C" fn mapper_v1_raw_body() {}

#[no_mangle]
pub extern "C" fn mapper_v1_map(length: u32) -> u64 {
    tallyhook::run(length, map)
}

const TEXT_BYTES_MAX: usize = 256;

/// A tag as it stands in the body: what is between its name and >, and what
/// follows the >.
struct Tag<'a> {
    attributes: &'a [u8],
    after: &'a [u8],
}

/// The first tag <name …>.
fn tag<'a>(mut body: &'a [u8], name: &[u8]) -> Option<Tag<'a>> {
    loop {
        body = &body[find(body, b"<")? + 1..];
        if let Some(rest) = body.strip_prefix(name) {
            if matches!(rest.first()?, b' ' | b'>' | b'/' | b'\t' | b'\n' | b'\r') {
                let end = find(rest, b">")?;
                return Some(Tag { attributes: &rest[..end], after: &rest[end + 1..] });
            }
        }
    }
}

/// What stands between <name> and </name>: text, no elements.
fn text<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let t = tag(body, name)?;
    if t.attributes.last() == Some(&b'/') {
        return Some(b"");
    }
    let end = find(t.after, b"<")?;
    let closing = t.after[end..].strip_prefix(b"</")?.strip_prefix(name)?;
    trim(closing).starts_with(b">").then_some(trim(&t.after[..end]))
}

/// The value of an attribute of the first tag <name …>.
fn attribute<'a>(body: &'a [u8], name: &[u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut rest = tag(body, name)?.attributes;
    loop {
        let equals = find(rest, b"=")?;
        let (is, after) = (trim(&rest[..equals]), trim(&rest[equals + 1..]));
        let quote = *after.first().filter(|c| matches!(c, b'"' | b'\''))?;
        let end = 1 + after[1..].iter().position(|c| *c == quote)?;
        if is == key {
            return Some(&after[1..end]);
        }
        rest = &after[end + 1..];
    }
}

/// Sets a field to text with its five entities undone. None: it holds others.
fn set(out: &mut Reports, field: Field, mut text: &[u8]) -> Option<()> {
    let mut plain = [0; TEXT_BYTES_MAX + 1];
    let mut n = 0;
    const ENTITIES: [(&[u8], u8); 5] = [(b"&amp;", b'&'), (b"&lt;", b'<'), (b"&gt;", b'>'), (b"&quot;", b'"'), (b"&apos;", b'\'')];
    while let [c, rest @ ..] = text {
        let (c, rest) = match c {
            b'&' => ENTITIES.iter().find_map(|e| text.strip_prefix(e.0).map(|rest| (e.1, rest)))?,
            _ => (*c, rest),
        };
        if n < plain.len() {
            plain[n] = c; // one byte too many makes the SDK refuse the value
            n += 1;
        }
        text = rest;
    }
    out.set(field, &plain[..n]);
    Some(())
}

fn map(p: &Postback<'static>, out: &mut Reports) -> Answer {
    let body = p.body();
    if find(body, b"<!").is_some() {
        return Answer::Unsupported; // a DOCTYPE, comments, CDATA
    }
    let conversion = match (tag(body, b"conversion"), find(body, b"</conversion>")) {
        (Some(t), Some(_)) => t.after,
        _ => return Answer::Malformed,
    };
    let fields = [
        (Field::RefId, attribute(conversion, b"lead", b"id")),
        (Field::Caller, text(conversion, b"phone")),
        (Field::Duration, text(conversion, b"talk")),
        (Field::Payout, text(conversion, b"sale")),
        (Field::Currency, attribute(conversion, b"sale", b"currency")),
        (Field::Status, text(conversion, b"status")),
    ];
    for (field, value) in fields {
        if let Some(value) = value {
            if set(out, field, value).is_none() {
                out.fail("an entity other than amp, lt, gt, quot and apos");
            }
        }
    }
    Answer::Done
}
