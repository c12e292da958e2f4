/* Status codes that say what a postback does: 1 approves, 3 takes back, and so
 * on. See README.md. */
#include "tallyhook.h"

TH_EXPORT(mapper_v1_map) th_u64 mapper_v1_map(th_u32 length) {
  if (!th_begin(length)) return th_code(TH_MALFORMED);
  th_text state = th_trim(th_get(TH_FORM, TH("state"))), payout = th_get(TH_FORM, TH("amt")), kind = TH("conversion");
  if (!state.n) return th_code(TH_MISSING);
  switch (state.n == 1 ? *state.p : 0) {
    case '0': payout = TH("0"); break; /* the buyer declined: it is worth nothing */
    case '1': break;
    case '2': return th_code(TH_DROP); /* pending: another postback follows */
    case '3': kind = TH("reversal"), payout = TH(""); break;
    case '4': kind = TH("adjustment"); break;
    default: th_fail(TH("state is none of 0 to 4"));
  }
  th_set(TH_KIND, kind);
  th_set(TH_PAYOUT, payout);
  th_set(TH_STATUS, state);
  th_set(TH_REF_ID, th_get(TH_FORM, TH("uid")));
  th_set(TH_TRANSACTION_ID, th_get(TH_FORM, TH("txn")));
  th_set(TH_OCCURRED_AT, th_get(TH_FORM, TH("ts")));
  return th_done();
}
