/* Bodies of lines parted by semicolons: a call a line, and at the end how many
 * there were. See README.md. */
import * as th from "./tallyhook";
export { mapper_v1_buffer } from "./tallyhook";

const SEMICOLON: u32 = 59, LINE_END: u32 = 10, HASH: u32 = 35;

// Whatever content type they come with, they are neither form nor JSON.
export function mapper_v1_raw_body(): void {}

function field(n: u32): th.Field {
  switch (n) {
    case 0: return th.Field.CallId;
    case 1: return th.Field.Caller;
    case 2: return th.Field.Duration;
    case 3: return th.Field.Payout;
  }
  return th.Field.Currency;
}

// CALL;id;caller;seconds;price;currency
function call(line: th.Text): void {
  let n: u32 = 0;
  for (; th.size(line) && n < 5; line = th.after(line, SEMICOLON)) th.set(field(n++), th.trim(th.before(line, SEMICOLON)));
  if (n < 4) th.fail("a CALL line has fewer than four fields");
  if (th.size(line)) th.extra(note, line);
}

// Extension keys are Texts: a static one of ASCII.
const NOTE = memory.data<u8>([110, 111, 116, 101]); // note
const note: th.Text = th.text(NOTE, 4);

// The number in END;12; what is no number is none that can have been.
function number(t: th.Text): u32 {
  let v: u32 = 0, n = th.size(t);
  for (let i: u32 = 0; i < n; i++) {
    let c = th.byteAt(t, i) - 48;
    if (c > 9 || i == 6) return u32.MAX_VALUE;
    v = v * 10 + c;
  }
  return n ? v : u32.MAX_VALUE;
}

export function mapper_v1_map(length: u32): u64 {
  if (!th.begin(length)) return th.code(th.Code.Malformed);
  let body = th.trim(th.body());
  if (th.equalFold(body, "PING")) return th.code(th.Code.Drop);
  if (!th.size(body)) return th.code(th.Code.Missing);
  let calls: u32 = 0;
  while (th.size(body)) {
    let line = th.trim(th.before(body, LINE_END));
    body = th.after(body, LINE_END);
    if (!th.size(line) || th.byteAt(line, 0) == HASH) continue;
    let type = th.before(line, SEMICOLON), rest = th.after(line, SEMICOLON);
    if (th.equal(type, "CALL")) {
      th.nextReport();
      call(rest);
      calls++;
    } else if (th.equal(type, "END")) {
      // What follows the end, or fewer calls than were sent, is a torn body: none of it counts.
      if (th.size(th.trim(body)) || number(rest) != calls) return th.code(th.Code.Malformed);
      return calls ? th.done() : th.code(th.Code.Drop);
    } else {
      return th.code(th.Code.Unsupported);
    }
  }
  return th.code(th.Code.Malformed); // no END
}
