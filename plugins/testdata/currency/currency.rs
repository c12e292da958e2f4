//! Says the currency that its configuration names, unless the request has one.
#![no_std]
mod tallyhook;
use tallyhook::{Answer, Field, Kind, Postback, Reports};

static mut KEPT: [u8; 12] = [0; 12];
static mut LENGTH: usize = 0;

#[no_mangle]
pub extern "C" fn mapper_v1_init(length: u32) -> u32 {
    let config = tallyhook::trim(tallyhook::config(length));
    if config.is_empty() || config.len() > 12 {
        return 1;
    }
    // Sound: a module has one thread.
    unsafe {
        KEPT[..config.len()].copy_from_slice(config);
        LENGTH = config.len();
    }
    0
}

#[no_mangle]
pub extern "C" fn mapper_v1_map(length: u32) -> u64 {
    tallyhook::run(length, map)
}

fn map(p: &Postback, out: &mut Reports) -> Answer {
    let currency = unsafe { &KEPT[..LENGTH] };
    out.set(Field::Currency, p.get(Kind::Query, b"cur").filter(|c| !c.is_empty()).unwrap_or(currency));
    out.set(Field::Status, if p.is_test() { b"test" } else { b"live" });
    let (mut digits, mut at, mut v) = ([0; 20], 20, p.received());
    while v > 0 || at == 20 {
        at -= 1;
        digits[at] = b'0' + (v % 10) as u8;
        v /= 10;
    }
    out.set(Field::OccurredAt, &digits[at..]);
    Answer::Done
}
