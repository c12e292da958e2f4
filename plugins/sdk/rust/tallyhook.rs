//! Tallyhook mapper SDK for Rust, ABI version 1: one file, `no_std`, no heap.
//!
//! ```text
//! #![no_std]
//! mod tallyhook;
//! use tallyhook::{Answer, Field, Kind, Postback, Reports};
//!
//! #[no_mangle]
//! pub extern "C" fn mapper_v1_map(length: u32) -> u64 {
//!     tallyhook::run(length, map)
//! }
//!
//! fn map(p: &Postback, out: &mut Reports) -> Answer {
//!     out.set(Field::RefId, p.get(Kind::Query, b"click").unwrap_or_default());
//!     out.set(Field::Payout, p.get(Kind::Query, b"price").unwrap_or_default());
//!     Answer::Done
//! }
//! ```
//!
//! To get bodies raw, with neither forms nor JSON split into pairs, export
//! `mapper_v1_raw_body` as well; it is never called.
//!
//! Build: rustc --edition 2021 --crate-type cdylib --target wasm32-unknown-unknown -C opt-level=3 -C lto=fat
//!        -C panic=abort -C target-feature=+bulk-memory -C link-args='-z stack-size=16384 --strip-all' mapper.rs
#![allow(dead_code)]

pub const BUFFER_BYTES: usize = 192 << 10;
pub const OUTPUT_BYTES: usize = 16 << 10;
pub const VALUE_BYTES_MAX: usize = 256;
pub const LONG_VALUE_BYTES_MAX: usize = 1024; // key and value of an extra, an error text
pub const REPORTS_MAX: u32 = 256;
pub const EXTRAS_MAX: u32 = 64;

const MAGIC: u32 = 0x314D_4854; // "THM1"
const HEADER_BYTES: usize = 32;
const NEXT_REPORT: u16 = 0;
const ERROR_TEXT: u16 = 0x7fff;
const EXTENSION: u16 = 0x8000;

/// Where a pair comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Request = 0, // method, peer, content_type
    Query = 1,
    Header = 2, // names in lower case
    Form = 3,
    Json = 4, // dotted paths: calls.0.payout
}

/// Fields of a report.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Field {
    RefId = 1,
    CallId,
    NetworkCallId,
    Caller,
    Duration, // whole seconds
    Payout,   // plain decimal: 12.34
    Currency,
    StartedAt, // RFC 3339, or Unix seconds or milliseconds
    OccurredAt,
    Status,
    TransactionId,
    Kind, // conversion, reversal, adjustment
}

/// What a call ends in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Done, // the reports count
    Drop, // nothing to report: the request is ignored
    Malformed,
    Missing,
    Unsupported,
    Own(u32), // a reason of your own, 1000 or more
}

impl Answer {
    fn code(self) -> u64 {
        match self {
            Answer::Done | Answer::Drop => 0,
            Answer::Malformed => 1,
            Answer::Missing => 2,
            Answer::Unsupported => 3,
            Answer::Own(n) => n.max(1000) as u64,
        }
    }
}

static mut BUFFER: [u8; BUFFER_BYTES] = [0; BUFFER_BYTES];
static mut OUTPUT: [u8; OUTPUT_BYTES] = [0; OUTPUT_BYTES];

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

#[no_mangle]
pub extern "C" fn mapper_v1_buffer() -> u64 {
    (unsafe { core::ptr::addr_of!(BUFFER) } as u64) << 32 | BUFFER_BYTES as u64
}

/// The configuration, in `mapper_v1_init(length)`: copy what you need of it, the
/// first request overwrites it.
pub fn config<'a>(length: u32) -> &'a [u8] {
    // Sound: a module has one thread, and the host writes between calls only.
    let all: &'static [u8] = unsafe { &*core::ptr::addr_of!(BUFFER) };
    &all[..(length as usize).min(BUFFER_BYTES)]
}

/// Maps the request in the buffer; `mapper_v1_map` returns what this returns.
pub fn run(length: u32, map: fn(&Postback<'static>, &mut Reports) -> Answer) -> u64 {
    let postback = match Postback::read(config(length), length) {
        Some(p) => p,
        None => return Answer::Malformed.code(),
    };
    // Sound: as above, and Reports does not outlive this function.
    let out: &'static mut [u8; OUTPUT_BYTES] = unsafe { &mut *core::ptr::addr_of_mut!(OUTPUT) };
    let place = out.as_ptr() as u64;
    let mut reports = Reports { out, at: 0, report_at: 0, reports: 1, extras: 0, seen: 0, begun: false, full: false };
    match map(&postback, &mut reports) {
        // Half a report is worse than a refused one.
        Answer::Done if reports.full => Answer::Unsupported.code(),
        Answer::Done => place << 32 | reports.at as u64,
        other => other.code(),
    }
}

/// The request. Its texts are views that live as long as the call.
#[derive(Clone, Copy)]
pub struct Postback<'a> {
    input: &'a [u8],
    pairs: &'a [u8],
    body: &'a [u8],
}

#[derive(Clone, Copy)]
pub struct Pair<'a> {
    pub kind: u8,
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl<'a> Postback<'a> {
    fn read(input: &'a [u8], length: u32) -> Option<Self> {
        if input.len() < HEADER_BYTES || u32_at(input, 0) != MAGIC || u32_at(input, 28) != length {
            return None;
        }
        let (pairs, body) = (u16_at(input, 24), u32_at(input, 16) as usize);
        if pairs < HEADER_BYTES || u32_at(input, 20) as usize != input.len().checked_sub(body)? {
            return None;
        }
        Some(Postback { input, pairs: input.get(pairs..body)?, body: input.get(body..)? })
    }

    /// A test of the integration: it is mapped as usual and books nothing.
    pub fn is_test(&self) -> bool {
        self.input[4] & 1 != 0
    }

    /// When the request came, milliseconds since 1970.
    pub fn received(&self) -> u64 {
        (u32_at(self.input, 12) as u64) << 32 | u32_at(self.input, 8) as u64
    }

    /// The body as it came.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// All pairs, in order.
    pub fn pairs(&self) -> Pairs<'a> {
        Pairs(self.pairs)
    }

    /// The value of the first pair of that kind and name.
    pub fn get(&self, kind: Kind, name: &[u8]) -> Option<&'a [u8]> {
        self.pairs().find(|p| p.kind == kind as u8 && p.name == name).map(|p| p.value)
    }
}

/// Iterates over pairs.
pub struct Pairs<'a>(&'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'a>> {
        let p = self.0;
        if p.len() < 6 {
            return None;
        }
        let (name, value) = (u16_at(p, 2), u16_at(p, 4));
        if p.len() - 6 < name + value {
            return None;
        }
        let (head, rest) = p.split_at(6 + name + value);
        self.0 = rest;
        Some(Pair { kind: p[0], name: &head[6..6 + name], value: &head[6 + name..] })
    }
}

/// Takes the reports. Nothing that the host would refuse gets in.
pub struct Reports {
    out: &'static mut [u8; OUTPUT_BYTES],
    at: usize,
    report_at: usize, // where this report begins
    reports: u32,
    extras: u32,
    seen: u32, // bit per field of this report, bit 0 its error text
    begun: bool,
    full: bool,
}

impl Reports {
    /// Sets a field of this report; an empty value is none. False: the field is
    /// set already, or the value is over 256 bytes or no UTF-8 (the report is
    /// invalid then).
    pub fn set(&mut self, field: Field, value: &[u8]) -> bool {
        self.begun = true;
        let bit = 1 << field as u32;
        if self.seen & bit != 0 {
            return false;
        }
        if value.is_empty() {
            return true;
        }
        if value.len() > VALUE_BYTES_MAX {
            return self.fail2(name_of(field), b" is longer than 256 bytes", false);
        }
        if !is_utf8(value) {
            return self.fail2(name_of(field), b" is not UTF-8", false);
        }
        let ok = self.record(field as u16, &[], value);
        self.seen |= if ok { bit } else { 0 };
        ok
    }

    /// Keeps a value under a key of your own. False: nothing was kept, for the
    /// report has that key or 64 others, or the two are over 1,024 bytes or no UTF-8.
    pub fn extra(&mut self, key: &[u8], value: &[u8]) -> bool {
        self.begun = true;
        if key.is_empty() || self.extras == EXTRAS_MAX || key.len() + value.len() > LONG_VALUE_BYTES_MAX {
            return false;
        }
        if self.has_extra(key) || !is_utf8(key) || !is_utf8(value) || !self.record(EXTENSION, key, value) {
            return false;
        }
        self.extras += 1;
        true
    }

    /// Makes this report invalid; a person reads the text. The first text counts.
    pub fn fail(&mut self, text: &str) -> bool {
        self.fail2(b"", text.as_bytes(), true)
    }

    /// Begins a report. The first one needs no call, and one before anything was
    /// set does nothing, so a loop may call it for each. False: there are 256.
    pub fn next_report(&mut self) -> bool {
        if !self.begun {
            self.begun = true;
            return true;
        }
        if self.reports == REPORTS_MAX || !self.record(NEXT_REPORT, &[], &[]) {
            self.full = true;
            return false;
        }
        self.reports += 1;
        self.report_at = self.at;
        self.extras = 0;
        self.seen = 0;
        true
    }

    fn fail2(&mut self, what: &[u8], text: &[u8], result: bool) -> bool {
        self.begun = true;
        if self.seen & 1 == 0 {
            let mut n = text.len().min(LONG_VALUE_BYTES_MAX - what.len());
            while n < text.len() && n > 0 && text[n] & 0xC0 == 0x80 {
                n -= 1; // not within a character
            }
            let place = self.at;
            if !self.record(ERROR_TEXT, &[], what) || OUTPUT_BYTES - self.at < n {
                self.full = true;
                return false;
            }
            self.put(&text[..n]);
            self.out[place + 2..place + 4].copy_from_slice(&((what.len() + n) as u16).to_le_bytes());
            self.seen |= 1;
            return result;
        }
        false
    }

    /// Appends one record; an extension's value is headed by its key.
    fn record(&mut self, id: u16, key: &[u8], value: &[u8]) -> bool {
        let key_head = if id == EXTENSION { 2 } else { 0 };
        let n = key_head + key.len() + value.len();
        if self.full || OUTPUT_BYTES - self.at < 4 + n {
            self.full = true;
            return false;
        }
        self.put(&id.to_le_bytes());
        self.put(&(n as u16).to_le_bytes());
        self.put(&(key.len() as u16).to_le_bytes()[..key_head]);
        self.put(key);
        self.put(value);
        true
    }

    #[inline]
    fn put(&mut self, p: &[u8]) {
        if let Some(to) = self.out.get_mut(self.at..self.at + p.len()) {
            to.copy_from_slice(p);
            self.at += p.len();
        }
    }

    fn has_extra(&self, key: &[u8]) -> bool {
        let mut rest = &self.out[self.report_at..self.at];
        while rest.len() >= 6 {
            let n = u16_at(rest, 2);
            if rest[1] == 0x80 && u16_at(rest, 4) == key.len() && rest[6..].starts_with(key) {
                return true;
            }
            rest = rest.get(4 + n..).unwrap_or_default();
        }
        false
    }
}

fn name_of(field: Field) -> &'static [u8] {
    const NAMES: [&str; 12] = [
        "ref_id", "call_id", "network_call_id", "caller", "duration", "payout", "currency", "started_at", "occurred_at",
        "status", "transaction_id", "kind",
    ];
    NAMES[field as usize - 1].as_bytes()
}

/// Equal without regard to the case of A to Z.
pub fn equal_fold(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// `text` without blanks and line ends around it.
pub fn trim(mut text: &[u8]) -> &[u8] {
    let blank = |c: &u8| *c == b' ' || (b'\t'..=b'\r').contains(c);
    while let [first, rest @ ..] = text {
        if !blank(first) {
            break;
        }
        text = rest;
    }
    while let [rest @ .., last] = text {
        if !blank(last) {
            break;
        }
        text = rest;
    }
    text
}

/// The parts before and after the first `c`; none without one.
pub fn cut(text: &[u8], c: u8) -> Option<(&[u8], &[u8])> {
    let i = text.iter().position(|b| *b == c)?;
    Some((&text[..i], &text[i + 1..]))
}

/// Where `what` begins in `text`.
pub fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    (0..(text.len() + 1).saturating_sub(what.len())).find(|i| text[*i..].starts_with(what))
}

/// Reads the dotted name of something in a JSON array: calls.12.payout under
/// "calls" is (12, "payout"); "" stands for the outermost array.
pub fn element<'a>(name: &'a [u8], array: &[u8]) -> Option<(usize, &'a [u8])> {
    let mut rest = name.strip_prefix(array)?;
    if !array.is_empty() {
        rest = rest.strip_prefix(b".")?;
    }
    let (digits, rest) = cut(rest, b'.').unwrap_or((rest, b""));
    if digits.is_empty() || digits.len() > 6 {
        return None;
    }
    let mut index = 0;
    for c in digits {
        index = index * 10 + c.checked_sub(b'0').filter(|d| *d <= 9)? as usize;
    }
    Some((index, rest))
}

/// Whole cents as a decimal: "1234" is "12.34", "-5" is "-0.05". The result is in
/// `scratch`; none when `text` is not an optional minus and 1 to 16 digits.
pub fn cents<'a>(text: &[u8], scratch: &'a mut [u8; 24]) -> Option<&'a [u8]> {
    let (sign, mut digits) = match text {
        [b'-', rest @ ..] => (1, rest),
        _ => (0, text),
    };
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    while digits.len() > 3 && digits[0] == b'0' {
        digits = &digits[1..];
    }
    let whole = digits.len().saturating_sub(2);
    let n = sign + whole.max(1) + 3;
    scratch[..n].fill(b'0');
    scratch[0] = if sign == 1 { b'-' } else { b'0' };
    scratch[sign..sign + whole].copy_from_slice(&digits[..whole]);
    scratch[n - 3] = b'.';
    scratch[n - (digits.len() - whole)..n].copy_from_slice(&digits[whole..]);
    Some(&scratch[..n])
}

#[inline]
fn is_utf8(p: &[u8]) -> bool {
    p.is_ascii() || core::str::from_utf8(p).is_ok()
}

#[inline]
fn u16_at(p: &[u8], i: usize) -> usize {
    p[i] as usize | (p[i + 1] as usize) << 8
}

#[inline]
fn u32_at(p: &[u8], i: usize) -> u32 {
    (u16_at(p, i) | u16_at(p, i + 2) << 16) as u32
}
