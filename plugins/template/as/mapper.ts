// Turns our postbacks into Tallyhook's reports.
import * as th from "./tallyhook";
export { mapper_v1_buffer } from "./tallyhook";

// One request: GET ?click=ID&price=12.50&secs=90&from=+13055551234
export function mapper_v1_map(length: u32): u64 {
  if (!th.begin(length)) return th.code(th.Code.Malformed);
  let click = th.get(th.Kind.Query, "click");
  if (!th.size(click)) return th.code(th.Code.Missing);
  th.set(th.Field.RefId, click);
  th.set(th.Field.Payout, th.get(th.Kind.Query, "price"));
  th.set(th.Field.Duration, th.get(th.Kind.Query, "secs"));
  th.set(th.Field.Caller, th.get(th.Kind.Query, "from"));
  return th.done();
}
