/* Amounts in cents behind or before a currency sign: sum=€1250 is 12.50 EUR, and
 * with a minus it takes the conversion back. See README.md. */
#include "tallyhook.h"

/* Takes sign off either end of *t, with the blanks beside it. */
static th_bool without(th_text *t, th_text sign) {
  if (t->n < sign.n) return 0;
  if (th_equal(th_slice(*t, 0, sign.n), sign)) *t = th_trim(th_slice(*t, sign.n, t->n));
  else if (th_equal(th_slice(*t, t->n - sign.n, t->n), sign)) *t = th_trim(th_slice(*t, 0, t->n - sign.n));
  else return 0;
  return 1;
}

static void amount(th_text sum) {
  th_u8 scratch[TH_CENTS_BYTES];
  sum = th_trim(sum);
  th_bool back = without(&sum, TH("-"));
  if (without(&sum, TH("€"))) th_set(TH_CURRENCY, TH("EUR"));
  else if (without(&sum, TH("£"))) th_set(TH_CURRENCY, TH("GBP"));
  else if (without(&sum, TH("$"))) th_set(TH_CURRENCY, TH("USD"));
  else {
    th_fail(TH("sum has no currency sign: want €, £ or $"));
    return;
  }
  if (!back) back = without(&sum, TH("-")); /* €-1250 as well as -€1250 */
  th_text decimal = sum.n && *sum.p != '-' ? th_cents(sum, scratch) : (th_text){0, 0};
  if (!decimal.n) {
    th_fail(TH("sum is no whole number of cents"));
    return;
  }
  th_set(TH_PAYOUT, decimal);
  if (back) th_set(TH_KIND, TH("reversal"));
}

TH_EXPORT(mapper_v1_map) th_u64 mapper_v1_map(th_u32 length) {
  if (!th_begin(length)) return th_code(TH_MALFORMED);
  th_text sum = th_get(TH_QUERY, TH("sum"));
  if (!sum.p) return th_code(TH_MISSING);
  th_set(TH_REF_ID, th_get(TH_QUERY, TH("sub")));
  th_set(TH_CALLER, th_get(TH_QUERY, TH("tel")));
  th_set(TH_DURATION, th_get(TH_QUERY, TH("sec")));
  th_set(TH_TRANSACTION_ID, th_get(TH_QUERY, TH("order")));
  amount(sum);
  return th_done();
}
