/* Says the currency that its configuration names, unless the request has one. */
#include "tallyhook.h"

static th_u8 kept[12], digits[20];
static th_text currency;

TH_EXPORT(mapper_v1_init) th_u32 mapper_v1_init(th_u32 length) {
  th_text config = th_trim(th_config(length));
  if (!config.n || config.n > sizeof kept) return 1;
  for (th_u32 i = 0; i < config.n; i++) kept[i] = config.p[i];
  currency = (th_text){kept, config.n};
  return 0;
}

static th_text decimal(th_u64 v) {
  th_u32 at = sizeof digits;
  do digits[--at] = '0' + v % 10; while (v /= 10);
  return (th_text){digits + at, sizeof digits - at};
}

TH_EXPORT(mapper_v1_map) th_u64 mapper_v1_map(th_u32 length) {
  if (!th_begin(length)) return th_code(TH_MALFORMED);
  th_text said = th_get(TH_QUERY, TH("cur"));
  th_set(TH_CURRENCY, said.n ? said : currency);
  th_set(TH_STATUS, th_is_test() ? TH("test") : TH("live"));
  th_set(TH_OCCURRED_AT, decimal(th_received()));
  return th_done();
}
