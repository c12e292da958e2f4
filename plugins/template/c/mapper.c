/* Turns our postbacks into Tallyhook's reports. */
#include "tallyhook.h"

/* One request: GET ?click=ID&price=12.50&secs=90&from=+13055551234 */
TH_EXPORT(mapper_v1_map) th_u64 mapper_v1_map(th_u32 length) {
  if (!th_begin(length)) return th_code(TH_MALFORMED);
  th_text click = th_get(TH_QUERY, TH("click"));
  if (!click.n) return th_code(TH_MISSING);
  th_set(TH_REF_ID, click);
  th_set(TH_PAYOUT, th_get(TH_QUERY, TH("price")));
  th_set(TH_DURATION, th_get(TH_QUERY, TH("secs")));
  th_set(TH_CALLER, th_get(TH_QUERY, TH("from")));
  return th_done();
}
