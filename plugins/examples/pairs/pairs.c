/* What the built-in mapper does for a source without settings, as a mapper of
 * one's own: the usual names in query, form or JSON, in any case, body before
 * query; what nobody asked for is kept. See README.md. */
#include "tallyhook.h"

/* Names that mean a field. In each field the one with the lowest rank that has
 * a value wins. Ordered by length, for look-up; FROM says where a length begins. */
static const struct {
  char name[17];
  th_u8 field, rank;
} ALIASES[] = {
    {"tid", TH_REF_ID, 6}, {"ani", TH_CALLER, 8}, {"bid", TH_PAYOUT, 5},
    {"from", TH_CALLER, 3},
    {"subid", TH_REF_ID, 5}, {"phone", TH_CALLER, 5}, {"value", TH_PAYOUT, 4}, {"price", TH_PAYOUT, 7},
    {"ref_id", TH_REF_ID, 0}, {"pub_id", TH_REF_ID, 4}, {"callid", TH_CALL_ID, 1}, {"caller", TH_CALLER, 1},
    {"length", TH_DURATION, 5}, {"payout", TH_PAYOUT, 0}, {"amount", TH_PAYOUT, 3}, {"status", TH_STATUS, 0},
    {"call_id", TH_CALL_ID, 0}, {"seconds", TH_DURATION, 6}, {"revenue", TH_PAYOUT, 2},
    {"click_id", TH_REF_ID, 3}, {"callerid", TH_CALLER, 2}, {"duration", TH_DURATION, 0}, {"earnings", TH_PAYOUT, 8},
    {"currency", TH_CURRENCY, 0},
    {"caller_id", TH_CALLER, 0}, {"talk_time", TH_DURATION, 3},
    {"bid_amount", TH_PAYOUT, 6}, {"started_at", TH_STARTED_AT, 0}, {"start_time", TH_STARTED_AT, 1},
    {"call_start", TH_STARTED_AT, 3}, {"event_time", TH_OCCURRED_AT, 1},
    {"external_id", TH_REF_ID, 1}, {"our_call_id", TH_CALL_ID, 3}, {"internal_id", TH_CALL_ID, 4},
    {"from_number", TH_CALLER, 4}, {"occurred_at", TH_OCCURRED_AT, 0}, {"call_status", TH_STATUS, 1},
    {"external_ref", TH_REF_ID, 2}, {"reference_id", TH_CALL_ID, 2}, {"caller_phone", TH_CALLER, 6},
    {"inboundcallid", TH_NETWORK_CALL_ID, 2}, {"caller_number", TH_CALLER, 7}, {"talk_duration", TH_DURATION, 2},
    {"call_duration", TH_DURATION, 4},
    {"transaction_id", TH_REF_ID, 7},
    {"network_call_id", TH_NETWORK_CALL_ID, 0}, {"inbound_call_id", TH_NETWORK_CALL_ID, 1},
    {"payout_or_blank", TH_PAYOUT, 1}, {"payout_currency", TH_CURRENCY, 1}, {"call_start_time", TH_STARTED_AT, 2},
    {"duration_seconds", TH_DURATION, 1},
};
enum { ALIAS_COUNT = sizeof(ALIASES) / sizeof(ALIASES[0]), NONE = ALIAS_COUNT, LENGTH_MAX = 16, FIELDS_MAX = 256 };
static const th_u8 FROM[LENGTH_MAX + 2] = {0, 0, 0, 0, 3, 4, 8, 16, 19, 24, 26, 31, 37, 40, 44, 45, 50, 51};

static struct {
  th_text name, value;
  th_u8 alias; /* NONE: nobody asked for it */
  th_u8 body, used;
} fields[FIELDS_MAX];
static th_u32 count, shared; /* fields in use; those that all reports of an array share */
static th_bool too_many, shared_too_many;

static th_u8 alias_of(th_text name) {
  if (name.n > LENGTH_MAX) return NONE;
  for (th_u32 i = FROM[name.n]; i < FROM[name.n + 1]; i++)
    if (th_equal_fold(name, (th_text){(const th_u8 *)ALIASES[i].name, name.n})) return i;
  return NONE;
}

static void add(th_text name, th_text value, th_bool body) {
  if (count == FIELDS_MAX) {
    too_many = 1;
    return;
  }
  fields[count].name = name, fields[count].value = value;
  fields[count].alias = alias_of(name), fields[count].body = body;
  count++;
}

/* One report of the fields collected so far. */
static void report(void) {
  th_u16 seen[ALIAS_COUNT][2] = {0}, best[TH_KIND + 1][2] = {0}; /* place in fields + 1, by query or body */
  if (too_many) th_fail(TH("more than 256 fields"));
  for (th_u32 i = 0; i < count; i++) {
    th_u8 a = fields[i].alias, body = fields[i].body;
    fields[i].used = 0;
    if (a == NONE) continue;
    if (th_trim(fields[i].value).n == 0) { /* empty is absent, not zero */
      fields[i].used = 1;
      continue;
    }
    th_u16 *first = &seen[a][body], *top = &best[ALIASES[a].field][body];
    if (!*first) {
      *first = i + 1;
      if (!*top || ALIASES[a].rank < ALIASES[fields[*top - 1].alias].rank) *top = i + 1;
    } else if (th_equal(fields[*first - 1].value, fields[i].value)) {
      fields[i].used = 1;
    } else {
      th_fail(TH("a field is given twice with different values"));
    }
  }
  for (th_u32 field = TH_REF_ID; field <= TH_KIND; field++) {
    th_u32 i = best[field][1] ? best[field][1] : best[field][0];
    if (!i) continue;
    th_set(field, fields[i - 1].value);
    fields[i - 1].used = 1;
  }
  for (th_u32 i = 0; i < count; i++)
    if (!fields[i].used) th_extra(fields[i].name, fields[i].value);
}

/* The reports of an outermost JSON array: 0.payout, 0.ref_id, 1.payout, … */
static void elements(void) {
  th_u32 current = 0, index;
  th_text rest;
  for (th_pair p = {0}; th_next(&p);) {
    if (p.kind != TH_JSON || !th_element(p.name, TH(""), &index, &rest)) continue;
    for (; current < index; current++) { /* an empty element is a report too */
      report();
      if (!th_next_report()) return;
      count = shared, too_many = shared_too_many;
    }
    if (rest.n) add(rest, p.value, 1);
    else th_fail(TH("an element of the array is no JSON object"));
  }
  report();
}

TH_EXPORT(mapper_v1_map) th_u64 mapper_v1_map(th_u32 length) {
  if (!th_begin(length)) return th_code(TH_MALFORMED);
  th_text body = th_trim(th_body());
  th_bool array = body.n && *body.p == '[', json = 0;
  count = too_many = 0;
  for (th_pair p = {0}; th_next(&p);) {
    if (p.kind == TH_QUERY || p.kind == TH_FORM) add(p.name, p.value, p.kind == TH_FORM);
    if (p.kind == TH_JSON) {
      json = 1;
      if (!array) add(p.name, p.value, 1);
    }
  }
  shared = count, shared_too_many = too_many;
  th_next_report();
  if (array && json) elements();
  else report();
  return th_done();
}
