/* What the built-in mapper does for a source without settings, as a mapper of
 * one's own: the usual names in query, form or JSON, in any case, body before
 * query; what nobody asked for is kept. See README.md. */
import * as th from "./tallyhook";
export { mapper_v1_buffer } from "./tallyhook";

const FIELDS_MAX: u32 = 256;
const ALIASES: u32 = 51;
const NONE: u32 = 255;

// An entry is name u64, value u64, alias u32, body u8, used u8: 24 bytes.
const ENTRY: usize = 24;
const entries: usize = memory.data(6144, 8);
const seen: usize = memory.data(204, 8); // u16 per alias and origin: place in entries + 1
const best: usize = memory.data(52, 8); // u16 per field and origin
let count: u32 = 0, shared: u32 = 0;
let tooMany: bool = false, sharedTooMany: bool = false;

// @ts-ignore: decorator
@inline function alias(number: u32, field: th.Field, rank: u32): u32 { return number | (<u32>field << 8) | (rank << 16); }

// Names that mean a field. In each field the one with the lowest rank that has a
// value wins.
function aliasOf(name: th.Text): u32 {
  switch (th.size(name)) {
    case 3:
      if (th.equalFold(name, "tid")) return alias(0, th.Field.RefId, 6);
      if (th.equalFold(name, "ani")) return alias(1, th.Field.Caller, 8);
      if (th.equalFold(name, "bid")) return alias(2, th.Field.Payout, 5);
      break;
    case 4:
      if (th.equalFold(name, "from")) return alias(3, th.Field.Caller, 3);
      break;
    case 5:
      if (th.equalFold(name, "subid")) return alias(4, th.Field.RefId, 5);
      if (th.equalFold(name, "phone")) return alias(5, th.Field.Caller, 5);
      if (th.equalFold(name, "value")) return alias(6, th.Field.Payout, 4);
      if (th.equalFold(name, "price")) return alias(7, th.Field.Payout, 7);
      break;
    case 6:
      if (th.equalFold(name, "ref_id")) return alias(8, th.Field.RefId, 0);
      if (th.equalFold(name, "pub_id")) return alias(9, th.Field.RefId, 4);
      if (th.equalFold(name, "callid")) return alias(10, th.Field.CallId, 1);
      if (th.equalFold(name, "caller")) return alias(11, th.Field.Caller, 1);
      if (th.equalFold(name, "length")) return alias(12, th.Field.Duration, 5);
      if (th.equalFold(name, "payout")) return alias(13, th.Field.Payout, 0);
      if (th.equalFold(name, "amount")) return alias(14, th.Field.Payout, 3);
      if (th.equalFold(name, "status")) return alias(15, th.Field.Status, 0);
      break;
    case 7:
      if (th.equalFold(name, "call_id")) return alias(16, th.Field.CallId, 0);
      if (th.equalFold(name, "seconds")) return alias(17, th.Field.Duration, 6);
      if (th.equalFold(name, "revenue")) return alias(18, th.Field.Payout, 2);
      break;
    case 8:
      if (th.equalFold(name, "click_id")) return alias(19, th.Field.RefId, 3);
      if (th.equalFold(name, "callerid")) return alias(20, th.Field.Caller, 2);
      if (th.equalFold(name, "duration")) return alias(21, th.Field.Duration, 0);
      if (th.equalFold(name, "earnings")) return alias(22, th.Field.Payout, 8);
      if (th.equalFold(name, "currency")) return alias(23, th.Field.Currency, 0);
      break;
    case 9:
      if (th.equalFold(name, "caller_id")) return alias(24, th.Field.Caller, 0);
      if (th.equalFold(name, "talk_time")) return alias(25, th.Field.Duration, 3);
      break;
    case 10:
      if (th.equalFold(name, "bid_amount")) return alias(26, th.Field.Payout, 6);
      if (th.equalFold(name, "started_at")) return alias(27, th.Field.StartedAt, 0);
      if (th.equalFold(name, "start_time")) return alias(28, th.Field.StartedAt, 1);
      if (th.equalFold(name, "call_start")) return alias(29, th.Field.StartedAt, 3);
      if (th.equalFold(name, "event_time")) return alias(30, th.Field.OccurredAt, 1);
      break;
    case 11:
      if (th.equalFold(name, "external_id")) return alias(31, th.Field.RefId, 1);
      if (th.equalFold(name, "our_call_id")) return alias(32, th.Field.CallId, 3);
      if (th.equalFold(name, "internal_id")) return alias(33, th.Field.CallId, 4);
      if (th.equalFold(name, "from_number")) return alias(34, th.Field.Caller, 4);
      if (th.equalFold(name, "occurred_at")) return alias(35, th.Field.OccurredAt, 0);
      if (th.equalFold(name, "call_status")) return alias(36, th.Field.Status, 1);
      break;
    case 12:
      if (th.equalFold(name, "external_ref")) return alias(37, th.Field.RefId, 2);
      if (th.equalFold(name, "reference_id")) return alias(38, th.Field.CallId, 2);
      if (th.equalFold(name, "caller_phone")) return alias(39, th.Field.Caller, 6);
      break;
    case 13:
      if (th.equalFold(name, "inboundcallid")) return alias(40, th.Field.NetworkCallId, 2);
      if (th.equalFold(name, "caller_number")) return alias(41, th.Field.Caller, 7);
      if (th.equalFold(name, "talk_duration")) return alias(42, th.Field.Duration, 2);
      if (th.equalFold(name, "call_duration")) return alias(43, th.Field.Duration, 4);
      break;
    case 14:
      if (th.equalFold(name, "transaction_id")) return alias(44, th.Field.RefId, 7);
      break;
    case 15:
      if (th.equalFold(name, "network_call_id")) return alias(45, th.Field.NetworkCallId, 0);
      if (th.equalFold(name, "inbound_call_id")) return alias(46, th.Field.NetworkCallId, 1);
      if (th.equalFold(name, "payout_or_blank")) return alias(47, th.Field.Payout, 1);
      if (th.equalFold(name, "payout_currency")) return alias(48, th.Field.Currency, 1);
      if (th.equalFold(name, "call_start_time")) return alias(49, th.Field.StartedAt, 2);
      break;
    case 16:
      if (th.equalFold(name, "duration_seconds")) return alias(50, th.Field.Duration, 1);
      break;
  }
  return NONE;
}

function add(name: th.Text, value: th.Text, body: u32): void {
  if (count == FIELDS_MAX) { tooMany = true; return; }
  let e = entries + ENTRY * count++;
  store<u64>(e, name);
  store<u64>(e, value, 8);
  store<u32>(e, aliasOf(name), 16);
  store<u8>(e, body, 20);
}

// The second and later values of an alias: the same value again says nothing.
function again(first: u32, e: usize): void {
  if (th.same(load<u64>(entries + ENTRY * (first - 1), 8), load<u64>(e, 8))) store<u8>(e, 1, 21);
  else th.fail("a field is given twice with different values");
}

// One report of what has been collected so far.
function report(): void {
  memory.fill(seen, 0, 204);
  memory.fill(best, 0, 52);
  if (tooMany) th.fail("more than 256 fields");
  for (let i: u32 = 0; i < count; i++) {
    let e = entries + ENTRY * i, a = load<u32>(e, 16), origin: usize = load<u8>(e, 20);
    let empty = a != NONE && th.size(th.trim(load<u64>(e, 8))) == 0;
    store<u8>(e, empty ? 1 : 0, 21); // empty is absent, not zero
    if (a == NONE || empty) continue;
    let first = seen + ((<usize>(a & 255) << 1) + origin) * 2;
    if (load<u16>(first)) { again(load<u16>(first), e); continue; }
    store<u16>(first, <u16>(i + 1));
    let top = best + ((<usize>((a >> 8) & 255) << 1) + origin) * 2, old: u32 = load<u16>(top);
    if (old == 0 || a >> 16 < load<u32>(entries + ENTRY * (old - 1), 16) >> 16) store<u16>(top, <u16>(i + 1));
  }
  for (let field: i32 = th.Field.RefId; field <= th.Field.Kind; field++) {
    let top = best + <usize>field * 4, i: u32 = load<u16>(top, 2);
    if (i == 0) i = load<u16>(top);
    if (i == 0) continue;
    let e = entries + ENTRY * (i - 1);
    th.set(field, load<u64>(e, 8));
    store<u8>(e, 1, 21);
  }
  for (let i: u32 = 0; i < count; i++) {
    let e = entries + ENTRY * i;
    if (!load<u8>(e, 21)) th.extra(load<u64>(e), load<u64>(e, 8));
  }
}

// The reports of an outermost JSON array: 0.payout, 0.ref_id, 1.payout, …
function elements(): void {
  let current = 0;
  for (th.rewind(); th.next();) {
    if (th.kind != th.Kind.Json) continue;
    let index = th.elementIndex(th.name, "");
    if (index < 0) continue;
    for (; current < index; current++) { // an empty element is a report too
      report();
      if (!th.nextReport()) return;
      count = shared;
      tooMany = sharedTooMany;
    }
    let rest = th.elementRest(th.name, "");
    if (th.size(rest)) add(rest, th.value, 1);
    else th.fail("an element of the array is no JSON object");
  }
  report();
}

export function mapper_v1_map(length: u32): u64 {
  if (!th.begin(length)) return th.code(th.Code.Malformed);
  let body = th.trim(th.body()), array = th.size(body) > 0 && th.byteAt(body, 0) == 91, json = false; // [
  count = 0;
  tooMany = false;
  for (th.rewind(); th.next();) {
    if (th.kind == th.Kind.Query) add(th.name, th.value, 0);
    else if (th.kind == th.Kind.Form) add(th.name, th.value, 1);
    else if (th.kind == th.Kind.Json) {
      json = true;
      if (!array) add(th.name, th.value, 1);
    }
  }
  shared = count;
  sharedTooMany = tooMany;
  th.nextReport();
  if (array && json) elements();
  else report();
  return th.done();
}
