// Says the currency that its configuration names, unless the request has one.
import * as th from "./tallyhook";
export { mapper_v1_buffer } from "./tallyhook";

const kept: usize = memory.data(12), digits: usize = memory.data(20);
let currency: th.Text = 0;

export function mapper_v1_init(length: u32): i32 {
  let config = th.trim(th.config(length)), n = th.size(config);
  if (n == 0 || n > 12) return 1;
  memory.copy(kept, th.place(config), n);
  currency = th.text(kept, n);
  return 0;
}

function decimal(v: u64): th.Text {
  let at: u32 = 20;
  do {
    store<u8>(digits + --at, 48 + <u32>(v % 10));
    v /= 10;
  } while (v);
  return th.text(digits + at, 20 - at);
}

export function mapper_v1_map(length: u32): u64 {
  if (!th.begin(length)) return th.code(th.Code.Malformed);
  let said = th.get(th.Kind.Query, "cur");
  th.set(th.Field.Currency, th.size(said) ? said : currency);
  th.setString(th.Field.Status, th.isTest() ? "test" : "live");
  th.set(th.Field.OccurredAt, decimal(th.received()));
  return th.done();
}
