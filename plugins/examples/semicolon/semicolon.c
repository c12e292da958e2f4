/* Bodies of lines parted by semicolons: a call a line, and at the end how many
 * there were. See README.md. */
#include "tallyhook.h"

TH_RAW_BODY /* whatever content type they come with, they are neither form nor JSON */

/* CALL;id;caller;seconds;price;currency */
static void call(th_text line) {
  static const th_u16 order[] = {TH_CALL_ID, TH_CALLER, TH_DURATION, TH_PAYOUT, TH_CURRENCY};
  th_u32 n = 0;
  while (line.n && n < 5) th_set(order[n++], th_trim(th_cut(&line, ';')));
  if (n < 4) th_fail(TH("a CALL line has fewer than four fields"));
  if (line.n) th_extra(TH("note"), line);
}

/* The number in END;12; what is no number is none that can have been. */
static th_u32 number(th_text t) {
  th_u32 v = 0;
  for (th_u32 i = 0; i < t.n; i++) {
    if (t.p[i] < '0' || t.p[i] > '9' || i == 6) return ~0u;
    v = v * 10 + (t.p[i] - '0');
  }
  return t.n ? v : ~0u;
}

TH_EXPORT(mapper_v1_map) th_u64 mapper_v1_map(th_u32 length) {
  if (!th_begin(length)) return th_code(TH_MALFORMED);
  th_text body = th_trim(th_body());
  if (th_equal_fold(body, TH("PING"))) return th_code(TH_DROP);
  if (!body.n) return th_code(TH_MISSING);
  th_u32 calls = 0;
  while (body.n) {
    th_text line = th_trim(th_cut(&body, '\n'));
    if (!line.n || *line.p == '#') continue;
    th_text type = th_cut(&line, ';');
    if (th_equal(type, TH("CALL"))) {
      th_next_report();
      call(line);
      calls++;
    } else if (th_equal(type, TH("END"))) {
      /* What follows the end, or fewer calls than were sent, is a torn body: none of it counts. */
      if (th_trim(body).n || number(line) != calls) return th_code(TH_MALFORMED);
      return calls ? th_done() : th_code(TH_DROP);
    } else {
      return th_code(TH_UNSUPPORTED);
    }
  }
  return th_code(TH_MALFORMED); /* no END */
}
