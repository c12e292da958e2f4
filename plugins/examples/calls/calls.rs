//! A JSON body that holds an array of calls, and each call an array of bids of
//! which one won: a report per call. See README.md.
#![no_std]
mod tallyhook;
use tallyhook::{element, Answer, Field, Kind, Postback, Reports};

#[no_mangle]
pub extern "C" fn mapper_v1_map(length: u32) -> u64 {
    tallyhook::run(length, map)
}

/// One bid: calls.0.bids.1.amount, .buyer, .won come one after the other, in
/// whatever order the sender wrote them.
#[derive(Default)]
struct Bid<'a> {
    index: usize,
    amount: &'a [u8],
    buyer: &'a [u8],
    won: bool,
}

/// A call that is being read.
#[derive(Default)]
struct Call<'a> {
    id: &'a [u8],
    bid: Bid<'a>,
    winner: Option<Bid<'a>>,
    winners: u32,
}

impl<'a> Call<'a> {
    fn bid_done(&mut self) {
        let bid = core::mem::take(&mut self.bid);
        if bid.won {
            self.winner = Some(bid);
            self.winners += 1;
        }
    }

    fn bid(&mut self, index: usize, name: &[u8], value: &'a [u8]) {
        if index != self.bid.index {
            self.bid_done();
            self.bid.index = index;
        }
        match name {
            b"amount" => self.bid.amount = value,
            b"buyer" => self.bid.buyer = value,
            b"won" => self.bid.won = value == b"true",
            _ => {}
        }
    }

    fn done(mut self, currency: &[u8], out: &mut Reports) {
        self.bid_done();
        if self.id.is_empty() {
            out.fail("a call has no id");
        }
        if self.winners > 1 {
            out.fail("a call has more than one bid that won");
        }
        out.set(Field::CallId, self.id);
        out.set(Field::Currency, currency);
        match self.winner {
            None => out.set(Field::Payout, b"0"), // nobody bought it
            Some(bid) => out.set(Field::Payout, bid.amount) && out.extra(b"buyer", bid.buyer),
        };
    }
}

fn map(p: &Postback<'static>, out: &mut Reports) -> Answer {
    let currency = p.get(Kind::Json, b"currency").unwrap_or_default();
    let mut current: Option<(usize, Call)> = None;
    for pair in p.pairs().filter(|pair| pair.kind == Kind::Json as u8) {
        let (index, name) = match element(pair.name, b"calls") {
            Some(found) => found,
            None => continue,
        };
        if current.as_ref().map_or(true, |c| c.0 != index) {
            if let Some((_, call)) = current.take() {
                call.done(currency, out);
            }
            if !out.next_report() {
                return Answer::Done; // more than 256: the SDK refuses the whole
            }
        }
        let call = &mut current.get_or_insert_with(|| (index, Call::default())).1;
        match name {
            b"id" => call.id = pair.value,
            b"tracking.click" => drop(out.set(Field::RefId, pair.value)),
            b"ani" => drop(out.set(Field::Caller, pair.value)),
            b"talk_seconds" => drop(out.set(Field::Duration, pair.value)),
            b"started" => drop(out.set(Field::StartedAt, pair.value)),
            _ => {
                if let Some((bid, name)) = element(name, b"bids") {
                    call.bid(bid, name, pair.value);
                }
            }
        }
    }
    match current {
        None => Answer::Missing,
        Some((_, call)) => {
            call.done(currency, out);
            Answer::Done
        }
    }
}
