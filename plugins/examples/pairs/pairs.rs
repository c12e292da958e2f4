//! What the built-in mapper does for a source without settings, as a mapper of
//! one's own: the usual names in query, form or JSON, in any case, body before
//! query; what nobody asked for is kept. See README.md.
#![no_std]
mod tallyhook;
use tallyhook::{element, equal_fold, trim, Answer, Field, Kind, Postback, Reports};

#[no_mangle]
pub extern "C" fn mapper_v1_map(length: u32) -> u64 {
    tallyhook::run(length, map)
}

const FIELDS_MAX: usize = 256;
const FIELD_IDS: usize = 13;

/// Names that mean a field, by their length, which is 3 for the first list. In
/// each field the one with the lowest rank that has a value wins.
type Alias = (&'static [u8], Field, u8);
const ALIASES: [&[Alias]; 14] = [
    &[
        (b"tid", Field::RefId, 6),
        (b"ani", Field::Caller, 8),
        (b"bid", Field::Payout, 5),
    ],
    &[
        (b"from", Field::Caller, 3),
    ],
    &[
        (b"subid", Field::RefId, 5),
        (b"phone", Field::Caller, 5),
        (b"value", Field::Payout, 4),
        (b"price", Field::Payout, 7),
    ],
    &[
        (b"ref_id", Field::RefId, 0),
        (b"pub_id", Field::RefId, 4),
        (b"callid", Field::CallId, 1),
        (b"caller", Field::Caller, 1),
        (b"length", Field::Duration, 5),
        (b"payout", Field::Payout, 0),
        (b"amount", Field::Payout, 3),
        (b"status", Field::Status, 0),
    ],
    &[
        (b"call_id", Field::CallId, 0),
        (b"seconds", Field::Duration, 6),
        (b"revenue", Field::Payout, 2),
    ],
    &[
        (b"click_id", Field::RefId, 3),
        (b"callerid", Field::Caller, 2),
        (b"duration", Field::Duration, 0),
        (b"earnings", Field::Payout, 8),
        (b"currency", Field::Currency, 0),
    ],
    &[
        (b"caller_id", Field::Caller, 0),
        (b"talk_time", Field::Duration, 3),
    ],
    &[
        (b"bid_amount", Field::Payout, 6),
        (b"started_at", Field::StartedAt, 0),
        (b"start_time", Field::StartedAt, 1),
        (b"call_start", Field::StartedAt, 3),
        (b"event_time", Field::OccurredAt, 1),
    ],
    &[
        (b"external_id", Field::RefId, 1),
        (b"our_call_id", Field::CallId, 3),
        (b"internal_id", Field::CallId, 4),
        (b"from_number", Field::Caller, 4),
        (b"occurred_at", Field::OccurredAt, 0),
        (b"call_status", Field::Status, 1),
    ],
    &[
        (b"external_ref", Field::RefId, 2),
        (b"reference_id", Field::CallId, 2),
        (b"caller_phone", Field::Caller, 6),
    ],
    &[
        (b"inboundcallid", Field::NetworkCallId, 2),
        (b"caller_number", Field::Caller, 7),
        (b"talk_duration", Field::Duration, 2),
        (b"call_duration", Field::Duration, 4),
    ],
    &[
        (b"transaction_id", Field::RefId, 7),
    ],
    &[
        (b"network_call_id", Field::NetworkCallId, 0),
        (b"inbound_call_id", Field::NetworkCallId, 1),
        (b"payout_or_blank", Field::Payout, 1),
        (b"payout_currency", Field::Currency, 1),
        (b"call_start_time", Field::StartedAt, 2),
    ],
    &[
        (b"duration_seconds", Field::Duration, 1),
    ],
];
const ALIAS_COUNT: usize = 51;

/// The number of the first alias of each list.
const FIRST: [u8; 15] = {
    let mut first = [0; 15];
    let mut i = 0;
    while i < 14 {
        first[i + 1] = first[i] + ALIASES[i].len() as u8;
        i += 1;
    }
    assert!(first[14] as usize == ALIAS_COUNT);
    first
};

#[derive(Clone, Copy)]
struct Entry {
    name: &'static [u8],
    value: &'static [u8],
    alias: Option<(u8, Field, u8)>, // its number, field and rank; none: nobody asked for it
    body: bool,
    used: bool,
}

struct Entries {
    all: [Entry; FIELDS_MAX],
    count: usize,
    too_many: bool,
}

const EMPTY: Entry = Entry { name: b"", value: b"", alias: None, body: false, used: false };
static mut ENTRIES: Entries = Entries { all: [EMPTY; FIELDS_MAX], count: 0, too_many: false };

fn alias_of(name: &[u8]) -> Option<(u8, Field, u8)> {
    let length = name.len().wrapping_sub(3);
    let list = ALIASES.get(length)?;
    let i = list.iter().position(|a| equal_fold(a.0, name))?;
    Some((FIRST[length] + i as u8, list[i].1, list[i].2))
}

impl Entries {
    fn add(&mut self, name: &'static [u8], value: &'static [u8], body: bool) {
        match self.all.get_mut(self.count) {
            None => self.too_many = true,
            Some(e) => {
                *e = Entry { name, value, alias: alias_of(name), body, used: false };
                self.count += 1;
            }
        }
    }

    /// One report of what has been collected so far.
    fn report(&mut self, out: &mut Reports) {
        // Place in the entries + 1, by query or body.
        let mut seen = [[0u16; 2]; ALIAS_COUNT];
        let mut best: [Option<(u16, Field, u8)>; 2 * FIELD_IDS] = [None; 2 * FIELD_IDS];
        if self.too_many {
            out.fail("more than 256 fields");
        }
        let all = &mut self.all[..self.count];
        for i in 0..all.len() {
            all[i].used = false;
            let (number, field, rank) = match all[i].alias {
                Some(a) => a,
                None => continue,
            };
            if trim(all[i].value).is_empty() {
                all[i].used = true; // empty is absent, not zero
                continue;
            }
            let body = all[i].body as usize;
            let first = &mut seen[number as usize][body];
            if *first == 0 {
                *first = i as u16 + 1;
                let top = &mut best[2 * field as usize + body];
                if top.map_or(true, |t| rank < t.2) {
                    *top = Some((i as u16, field, rank));
                }
            } else if all[*first as usize - 1].value == all[i].value {
                all[i].used = true;
            } else {
                out.fail("a field is given twice with different values");
            }
        }
        for pair in best.chunks_exact(2) {
            if let Some((i, field, _)) = pair[1].or(pair[0]) {
                out.set(field, all[i as usize].value);
                all[i as usize].used = true;
            }
        }
        for e in all.iter().filter(|e| !e.used) {
            out.extra(e.name, e.value);
        }
    }

    /// The reports of an outermost JSON array: 0.payout, 0.ref_id, 1.payout, …
    fn elements(&mut self, p: &Postback<'static>, out: &mut Reports) {
        let (shared, too_many) = (self.count, self.too_many);
        let mut current = 0;
        for pair in p.pairs().filter(|pair| pair.kind == Kind::Json as u8) {
            let (index, rest) = match element(pair.name, b"") {
                Some(found) => found,
                None => continue,
            };
            while current < index {
                self.report(out); // an empty element is a report too
                if !out.next_report() {
                    return;
                }
                self.count = shared;
                self.too_many = too_many;
                current += 1;
            }
            if rest.is_empty() {
                out.fail("an element of the array is no JSON object");
            } else {
                self.add(rest, pair.value, true);
            }
        }
        self.report(out);
    }
}

fn map(p: &Postback<'static>, out: &mut Reports) -> Answer {
    // Sound: a module has one thread, and map does not call itself.
    let entries = unsafe { &mut *core::ptr::addr_of_mut!(ENTRIES) };
    entries.count = 0;
    entries.too_many = false;
    let array = trim(p.body()).first() == Some(&b'[');
    let mut json = false;
    for pair in p.pairs() {
        let is_json = pair.kind == Kind::Json as u8;
        json |= is_json;
        if is_json && !array || pair.kind == Kind::Query as u8 || pair.kind == Kind::Form as u8 {
            entries.add(pair.name, pair.value, pair.kind != Kind::Query as u8);
        }
    }
    out.next_report();
    if array && json {
        entries.elements(p, out);
    } else {
        entries.report(out);
    }
    Answer::Done
}
