//! Turns our postbacks into Tallyhook's reports.
#![no_std]
mod tallyhook;
use tallyhook::{Answer, Field, Kind, Postback, Reports};

#[no_mangle]
pub extern "C" fn mapper_v1_map(length: u32) -> u64 {
    tallyhook::run(length, map)
}

/// One request: GET ?click=ID&price=12.50&secs=90&from=+13055551234
fn map(p: &Postback<'static>, out: &mut Reports) -> Answer {
    let query = |name: &[u8]| p.get(Kind::Query, name).unwrap_or_default();
    let click = query(b"click");
    if click.is_empty() {
        return Answer::Missing;
    }
    out.set(Field::RefId, click);
    out.set(Field::Payout, query(b"price"));
    out.set(Field::Duration, query(b"secs"));
    out.set(Field::Caller, query(b"from"));
    Answer::Done
}
