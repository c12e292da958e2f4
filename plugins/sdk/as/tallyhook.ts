/* Tallyhook mapper SDK for AssemblyScript, ABI version 1: one file, no heap.
 *
 *     import * as th from "./tallyhook";
 *     export { mapper_v1_buffer } from "./tallyhook";
 *
 *     export function mapper_v1_map(length: u32): u64 {
 *       if (!th.begin(length)) return th.code(th.Code.Malformed);
 *       th.set(th.Field.RefId, th.get(th.Kind.Query, "click"));
 *       th.set(th.Field.Payout, th.get(th.Kind.Query, "price"));
 *       return th.done();
 *     }
 *
 * A Text is a view: address and length in one u64, 0 for none. Those of the
 * request live until mapper_v1_map returns. Use string for literals only: one
 * that is made at run time is never freed. To get bodies raw, with neither forms
 * nor JSON split into pairs, export a function mapper_v1_raw_body as well; it is
 * never called.
 *
 * Build: asc mapper.ts -O3 --runtime stub --use abort= -o mapper.wasm
 */
export type Text = u64;

// Where a pair comes from.
export const enum Kind { Request, Query, Header, Form, Json }

// Fields of a report.
export const enum Field {
  RefId = 1, CallId, NetworkCallId, Caller, Duration, Payout, Currency, StartedAt, OccurredAt, Status, TransactionId, Kind,
}

// Results without a report, for code(); from Own on they are yours.
export const enum Code { Drop = 0, Malformed = 1, Missing = 2, Unsupported = 3, Own = 1000 }

export const BUFFER_BYTES: u32 = 192 << 10;
const OUTPUT_BYTES: u32 = 16 << 10;
const VALUE_BYTES_MAX: u32 = 256;
const LONG_VALUE_BYTES_MAX: u32 = 1024; // key and value of an extra, an error text
const REPORTS_MAX: u32 = 256;
const EXTRAS_MAX: u32 = 64;

const buffer: usize = memory.data(196608, 8);
const output: usize = memory.data(16384, 8);
const scratch: usize = memory.data(24, 8);

let pairsAt: usize = 0, bodyAt: usize = 0, end: usize = 0; // of the request, addresses
let at: usize = 0, reportAt: usize = 0; // of the output; where this report begins
let reports: u32 = 0, extras: u32 = 0;
let seen: u32 = 0; // bit per field of this report, bit 0 its error text
let begun: bool = false, full: bool = false;

// The pair that next() stepped to.
export let kind: u32 = 0;
export let name: Text = 0;
export let value: Text = 0;
let cursor: usize = 0;

export function mapper_v1_buffer(): u64 { return ((<u64>buffer) << 32) | BUFFER_BYTES; }

// ---- texts ----

// @ts-ignore: decorator
@inline export function text(address: usize, length: u32): Text { return ((<u64>address) << 32) | length; }
// @ts-ignore: decorator
@inline export function place(t: Text): usize { return <usize>(t >> 32); }
// @ts-ignore: decorator
@inline export function size(t: Text): u32 { return <u32>t; }
// The byte at i, which must be less than size(t).
// @ts-ignore: decorator
@inline export function byteAt(t: Text, i: u32): u32 { return load<u8>(place(t) + i); }
// @ts-ignore: decorator
@inline export function slice(t: Text, from: u32, to: u32): Text { return text(place(t) + from, to - from); }

// @ts-ignore: decorator
@inline function unit(s: string, i: u32): u32 { return load<u16>(changetype<usize>(s) + (<usize>i << 1)); }
// @ts-ignore: decorator
@inline function lower(c: u32): u32 { return c - 65 < 26 ? c | 32 : c; }
// @ts-ignore: decorator
@inline function blank(c: u32): bool { return c == 32 || c - 9 < 5; }

// Equal to a literal of ASCII.
export function equal(t: Text, s: string): bool {
  let n = size(t);
  if (n != <u32>s.length) return false;
  for (let i: u32 = 0; i < n; i++) if (byteAt(t, i) != unit(s, i)) return false;
  return true;
}

// The same without regard to the case of A to Z.
export function equalFold(t: Text, s: string): bool {
  let n = size(t);
  if (n != <u32>s.length) return false;
  for (let i: u32 = 0; i < n; i++) if (lower(byteAt(t, i)) != lower(unit(s, i))) return false;
  return true;
}

export function same(a: Text, b: Text): bool {
  let n = size(a);
  if (n != size(b)) return false;
  for (let i: u32 = 0; i < n; i++) if (byteAt(a, i) != byteAt(b, i)) return false;
  return true;
}

// t without blanks and line ends around it.
export function trim(t: Text): Text {
  let from: u32 = 0, to = size(t);
  while (from < to && blank(byteAt(t, from))) from++;
  while (to > from && blank(byteAt(t, to - 1))) to--;
  return slice(t, from, to);
}

// Where the character c first stands in t, size(t) when it does not.
export function indexOf(t: Text, c: u32): u32 {
  let n = size(t);
  for (let i: u32 = 0; i < n; i++) if (byteAt(t, i) == c) return i;
  return n;
}

// The part before the first c, all of it without one; and the part after, none
// without one. for (let rest = t; size(rest); rest = after(rest, c)) { before(rest, c) … }
export function before(t: Text, c: u32): Text { return slice(t, 0, indexOf(t, c)); }
export function after(t: Text, c: u32): Text {
  let i = indexOf(t, c), n = size(t);
  return slice(t, i < n ? i + 1 : n, n);
}

// How much of a dotted name such as calls.12.payout heads "calls.", 0 when the
// name is none of that array; plus 1, so that 0 is told from "".
function heads(t: Text, array: string): u32 {
  let n = <u32>array.length;
  if (n == 0) return 1;
  return size(t) > n && byteAt(t, n) == 46 && equal(slice(t, 0, n), array) ? n + 2 : 0;
}

// Of the dotted name of something in a JSON array, the index: calls.12.payout
// under "calls" is 12; "" stands for the outermost array. -1: no such name.
export function elementIndex(t: Text, array: string): i32 {
  let from = heads(t, array);
  if (from == 0) return -1;
  let digits = before(slice(t, from - 1, size(t)), 46), index: i32 = 0, n = size(digits);
  if (n < 1 || n > 6) return -1;
  for (let i: u32 = 0; i < n; i++) {
    let c = byteAt(digits, i) - 48;
    if (c > 9) return -1;
    index = index * 10 + c;
  }
  return index;
}

// What follows the index: payout.
export function elementRest(t: Text, array: string): Text {
  let from = heads(t, array);
  return from == 0 ? 0 : after(slice(t, from - 1, size(t)), 46);
}

// Whole cents as a decimal: "1234" is "12.34", "-5" is "-0.05". The result lives
// until the next call; none when t is not an optional minus and 1 to 16 digits.
export function cents(t: Text): Text {
  let n: usize = 0, from: u32 = 0, to = size(t);
  if (to > 0 && byteAt(t, 0) == 45) { store<u8>(scratch, 45); n = 1; from = 1; }
  if (to - from < 1 || to - from > 16) return 0;
  for (let i = from; i < to; i++) if (byteAt(t, i) - 48 > 9) return 0;
  while (to - from > 3 && byteAt(t, from) == 48) from++;
  if (to - from < 3) store<u8>(scratch + n++, 48);
  for (; to - from > 2; from++) store<u8>(scratch + n++, byteAt(t, from));
  store<u8>(scratch + n++, 46);
  store<u8>(scratch + n++, to - from > 1 ? byteAt(t, from) : 48);
  store<u8>(scratch + n++, byteAt(t, to - 1));
  return text(scratch, <u32>n);
}

// ---- the request ----

// The configuration, in mapper_v1_init(length): copy what you need of it, the
// first request overwrites it.
export function config(length: u32): Text { return text(buffer, min(length, BUFFER_BYTES)); }

// Starts a call. False: the buffer holds nothing that this SDK reads.
export function begin(length: u32): bool {
  at = reportAt = output; reports = 1; extras = 0; seen = 0; begun = false; full = false;
  pairsAt = bodyAt = end = cursor = buffer;
  if (length < 32 || length > BUFFER_BYTES || load<u32>(buffer) != 0x314D4854 || load<u32>(buffer, 28) != length) return false;
  let pairs: u32 = load<u16>(buffer, 24), body = load<u32>(buffer, 16);
  if (pairs < 32 || pairs > body || body > length || load<u32>(buffer, 20) != length - body) return false;
  pairsAt = cursor = buffer + pairs; bodyAt = buffer + body; end = buffer + length;
  return true;
}

// A test of the integration: it is mapped as usual and books nothing.
export function isTest(): bool { return (load<u8>(buffer, 4) & 1) != 0; }
// When the request came, milliseconds since 1970.
export function received(): u64 { return load<u64>(buffer, 8); }
// The body as it came.
export function body(): Text { return text(bodyAt, <u32>(end - bodyAt)); }

// Walks all pairs in order: for (rewind(); next();) { kind, name, value … }
export function rewind(): void { cursor = pairsAt; }

export function next(): bool {
  if (bodyAt - cursor < 6) return false;
  let n: u32 = load<u16>(cursor, 2), v: u32 = load<u16>(cursor, 4);
  if (<u32>(bodyAt - cursor) - 6 < n + v) return false;
  kind = load<u8>(cursor);
  name = text(cursor + 6, n);
  value = text(cursor + 6 + n, v);
  cursor += 6 + n + v;
  return true;
}

// The value of the first pair of that kind and name, 0 without one. It does not
// disturb a walk.
export function get(k: Kind, s: string): Text {
  for (let p = pairsAt; bodyAt - p >= 6;) {
    let n: u32 = load<u16>(p, 2), v: u32 = load<u16>(p, 4);
    if (<u32>(bodyAt - p) - 6 < n + v) return 0;
    if (load<u8>(p) == <u32>k && equal(text(p + 6, n), s)) return text(p + 6 + n, v);
    p += 6 + n + v;
  }
  return 0;
}

// ---- the reports ----

// @ts-ignore: decorator
@inline function put16(v: u32): void { store<u16>(at, <u16>v); at += 2; }

// Copies t to the output, where there is room, and says whether it is ASCII.
function copy(t: Text): bool {
  let from = place(t), n = size(t), i: u32 = 0, all: u64 = 0;
  for (; i + 8 <= n; i += 8) {
    let eight = load<u64>(from + i);
    store<u64>(at + i, eight);
    all |= eight;
  }
  for (; i < n; i++) {
    let c = load<u8>(from + i);
    store<u8>(at + i, c);
    all |= c;
  }
  at += n;
  return (all & 0x8080808080808080) == 0;
}

// Writes a literal as UTF-8: at most 3 bytes for each of its units.
function copyString(s: string): void {
  for (let i: u32 = 0, n = <u32>s.length; i < n; i++) {
    let c = unit(s, i);
    if (c - 0xD800 < 0x400 && i + 1 < n && unit(s, i + 1) - 0xDC00 < 0x400) {
      c = 0x10000 + ((c - 0xD800) << 10) + (unit(s, ++i) - 0xDC00);
    }
    if (c - 0xD800 < 0x800) c = 63; // half a character is "?"
    if (c < 0x80) { store<u8>(at++, c); continue; }
    if (c < 0x800) { store<u8>(at++, 0xC0 | (c >> 6)); }
    else {
      if (c < 0x10000) { store<u8>(at++, 0xE0 | (c >> 12)); }
      else { store<u8>(at++, 0xF0 | (c >> 18)); store<u8>(at++, 0x80 | ((c >> 12) & 63)); }
      store<u8>(at++, 0x80 | ((c >> 6) & 63));
    }
    store<u8>(at++, 0x80 | (c & 63));
  }
}

function isUTF8(t: Text): bool {
  for (let i: u32 = 0, n = size(t); i < n;) {
    let c = byteAt(t, i++);
    let more: u32 = c < 0x80 ? 0 : c < 0xC2 ? 9 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : c < 0xF5 ? 3 : 9;
    if (n - i < more) return false;
    if (more > 1) { // no surrogates, nothing overlong, nothing over U+10FFFF
      let d = byteAt(t, i);
      if ((c == 0xE0 && d < 0xA0) || (c == 0xED && d > 0x9F) || (c == 0xF0 && d < 0x90) || (c == 0xF4 && d > 0x8F)) return false;
    }
    for (; more; more--) if ((byteAt(t, i++) & 0xC0) != 0x80) return false;
  }
  return true;
}

function room(n: u32): bool {
  if (OUTPUT_BYTES - <u32>(at - output) < n) full = true;
  return !full;
}

function fail2(what: string, why: string): void {
  begun = true;
  if (seen & 1) return;
  let length = <u32>(what.length + why.length);
  if (length * 3 > LONG_VALUE_BYTES_MAX) { what = ""; why = "the mapper's error text is too long"; length = 40; }
  if (!room(4 + length * 3)) return;
  let from = at;
  at += 4;
  copyString(what);
  copyString(why);
  store<u16>(from, 0x7fff);
  store<u16>(from, <u16>(at - from - 4), 2);
  seen |= 1;
}

// Makes this report invalid; a person reads the text, a literal of at most 341
// characters. The first text counts.
export function fail(why: string): void { fail2("", why); }

function fieldName(f: u32): string {
  switch (f) {
    case Field.RefId: return "ref_id";
    case Field.CallId: return "call_id";
    case Field.NetworkCallId: return "network_call_id";
    case Field.Caller: return "caller";
    case Field.Duration: return "duration";
    case Field.Payout: return "payout";
    case Field.Currency: return "currency";
    case Field.StartedAt: return "started_at";
    case Field.OccurredAt: return "occurred_at";
    case Field.Status: return "status";
    case Field.TransactionId: return "transaction_id";
  }
  return "kind";
}

// Sets a field of this report; an empty value is none. False: the field is set
// already, or the value is over 256 bytes or no UTF-8 (the report is invalid then).
export function set(f: Field, t: Text): bool {
  begun = true;
  let n = size(t), from = at;
  if (f < Field.RefId || f > Field.Kind || ((seen >> f) & 1) != 0) return false;
  if (n == 0) return true;
  if (n > VALUE_BYTES_MAX) { fail2(fieldName(f), " is longer than 256 bytes"); return false; }
  if (!room(4 + n)) return false;
  put16(f); put16(n);
  if (!copy(t) && !isUTF8(t)) { at = from; fail2(fieldName(f), " is not UTF-8"); return false; }
  seen |= 1 << f;
  return true;
}

// The same for a literal of at most 85 characters.
export function setString(f: Field, s: string): bool {
  begun = true;
  let n = <u32>s.length, from = at;
  if (f < Field.RefId || f > Field.Kind || ((seen >> f) & 1) != 0 || n * 3 > VALUE_BYTES_MAX || !room(4 + n * 3)) return false;
  if (n == 0) return true;
  at += 4;
  copyString(s);
  store<u16>(from, <u16>f);
  store<u16>(from, <u16>(at - from - 4), 2);
  seen |= 1 << f;
  return true;
}

// Keeps a value under a key of your own. False: nothing was kept, for the report
// has that key or 64 others, or the two are over 1,024 bytes or no UTF-8.
export function extra(key: Text, t: Text): bool {
  begun = true;
  let k = size(key), n = size(t), from = at;
  if (k == 0 || extras == EXTRAS_MAX || k > LONG_VALUE_BYTES_MAX || n > LONG_VALUE_BYTES_MAX - k) return false;
  for (let p = reportAt; p < at; p += 4 + load<u16>(p, 2)) {
    if (load<u16>(p) == 0x8000 && same(text(p + 6, load<u16>(p, 4)), key)) return false;
  }
  if (!room(6 + k + n)) return false;
  put16(0x8000); put16(2 + k + n); put16(k);
  if ((!copy(key) && !isUTF8(key)) || (!copy(t) && !isUTF8(t))) { at = from; return false; }
  extras++;
  return true;
}

// Begins a report. The first one needs no call, and one before anything was set
// does nothing, so a loop may call it for each. False: there are 256.
export function nextReport(): bool {
  if (!begun) { begun = true; return true; }
  if (reports == REPORTS_MAX || !room(4)) { full = true; return false; }
  put16(0); put16(0);
  reports++; reportAt = at; extras = 0; seen = 0;
  return true;
}

// What mapper_v1_map returns: nothing to report, and why. Code.Drop: ignore the request.
export function code(c: u32): u64 { return c; }

// What mapper_v1_map returns: the reports. When they did not fit into 16 KiB or
// were over 256, none counts: half a report is worse than a refused one.
export function done(): u64 { return full ? Code.Unsupported : text(output, <u32>(at - output)); }
