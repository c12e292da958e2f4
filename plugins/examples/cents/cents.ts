/* Amounts in cents behind or before a currency sign: sum=€1250 is 12.50 EUR, and
 * with a minus it takes the conversion back. See README.md. */
import * as th from "./tallyhook";
export { mapper_v1_buffer } from "./tallyhook";

const MINUS: u32 = 45;

// The signs as UTF-8: €, £, $, -
const EURO = memory.data<u8>([0xE2, 0x82, 0xAC]);
const POUND = memory.data<u8>([0xC2, 0xA3]);
const DOLLAR = memory.data<u8>([0x24]);
const DASH = memory.data<u8>([0x2D]);

// t without the sign at either end and the blanks beside it; 0 when it has none.
function without(t: th.Text, sign: usize, bytes: u32): th.Text {
  let n = th.size(t), s = th.text(sign, bytes);
  if (n < bytes) return 0;
  if (th.same(th.slice(t, 0, bytes), s)) return th.trim(th.slice(t, bytes, n));
  if (th.same(th.slice(t, n - bytes, n), s)) return th.trim(th.slice(t, 0, n - bytes));
  return 0;
}

function amount(sum: th.Text): void {
  sum = th.trim(sum);
  let back = false, rest = without(sum, DASH, 1);
  if (rest) { back = true; sum = rest; }
  rest = without(sum, EURO, 3);
  if (rest) th.setString(th.Field.Currency, "EUR");
  else if ((rest = without(sum, POUND, 2))) th.setString(th.Field.Currency, "GBP");
  else if ((rest = without(sum, DOLLAR, 1))) th.setString(th.Field.Currency, "USD");
  else { th.fail("sum has no currency sign: want €, £ or $"); return; }
  sum = rest;
  if (!back && (rest = without(sum, DASH, 1))) { back = true; sum = rest; } // €-1250 as well as -€1250
  let decimal: th.Text = th.size(sum) && th.byteAt(sum, 0) != MINUS ? th.cents(sum) : 0;
  if (!decimal) { th.fail("sum is no whole number of cents"); return; }
  th.set(th.Field.Payout, decimal);
  if (back) th.setString(th.Field.Kind, "reversal");
}

export function mapper_v1_map(length: u32): u64 {
  if (!th.begin(length)) return th.code(th.Code.Malformed);
  let sum = th.get(th.Kind.Query, "sum");
  if (!sum) return th.code(th.Code.Missing);
  th.set(th.Field.RefId, th.get(th.Kind.Query, "sub"));
  th.set(th.Field.Caller, th.get(th.Kind.Query, "tel"));
  th.set(th.Field.Duration, th.get(th.Kind.Query, "sec"));
  th.set(th.Field.TransactionId, th.get(th.Kind.Query, "order"));
  amount(sum);
  return th.done();
}
