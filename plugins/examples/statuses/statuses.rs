//! Status codes that say what a postback does: 1 approves, 3 takes back, and so
//! on. See README.md.
#![no_std]
mod tallyhook;
use tallyhook::{trim, Answer, Field, Kind, Postback, Reports};

#[no_mangle]
pub extern "C" fn mapper_v1_map(length: u32) -> u64 {
    tallyhook::run(length, map)
}

fn map(p: &Postback<'static>, out: &mut Reports) -> Answer {
    let form = |name: &[u8]| p.get(Kind::Form, name).unwrap_or_default();
    let state = trim(form(b"state"));
    let amount = form(b"amt");
    let (kind, payout): (&[u8], &[u8]) = match state {
        b"" => return Answer::Missing,
        b"0" => (b"conversion", b"0"), // the buyer declined: it is worth nothing
        b"1" => (b"conversion", amount),
        b"2" => return Answer::Drop, // pending: another postback follows
        b"3" => (b"reversal", b""),
        b"4" => (b"adjustment", amount),
        _ => {
            out.fail("state is none of 0 to 4");
            (b"conversion", amount)
        }
    };
    out.set(Field::Kind, kind);
    out.set(Field::Payout, payout);
    out.set(Field::Status, state);
    out.set(Field::RefId, form(b"uid"));
    out.set(Field::TransactionId, form(b"txn"));
    out.set(Field::OccurredAt, form(b"ts"));
    Answer::Done
}
