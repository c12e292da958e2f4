/* Tallyhook mapper SDK for C, ABI version 1: one header, no libc, no heap.
 *
 *     #include "tallyhook.h"
 *
 *     TH_EXPORT(mapper_v1_map) th_u64 mapper_v1_map(th_u32 length) {
 *       if (!th_begin(length)) return th_code(TH_MALFORMED);
 *       th_set(TH_REF_ID, th_get(TH_QUERY, TH("click")));
 *       th_set(TH_PAYOUT, th_get(TH_QUERY, TH("price")));
 *       return th_done();
 *     }
 *
 * Include it in exactly one file of a module. A th_text is a view: it points
 * into the request, into your own constants or into your own scratch, and those
 * of the request live until mapper_v1_map returns. Nothing here writes over the
 * request, reads outside it, or writes more than the host takes.
 *
 * Build: clang -O2 --target=wasm32 -mbulk-memory -ffreestanding -fno-builtin -c mapper.c -o mapper.o
 *        wasm-ld mapper.o -o mapper.wasm --no-entry --stack-first -z stack-size=16384 --strip-all
 */
#ifndef TALLYHOOK_H
#define TALLYHOOK_H

typedef unsigned char th_u8;
typedef unsigned short th_u16;
typedef unsigned int th_u32;
typedef unsigned long long th_u64;
typedef _Bool th_bool;

typedef struct {
  const th_u8 *p; /* 0: there is none */
  th_u32 n;
} th_text;

/* A text from a literal. */
#define TH(literal) ((th_text){(const th_u8 *)(literal), sizeof(literal) - 1})

#define TH_EXPORT(name) __attribute__((export_name(#name)))

/* Put this beside mapper_v1_map to get bodies raw: the host then splits neither
 * forms nor JSON into pairs. */
#define TH_RAW_BODY TH_EXPORT(mapper_v1_raw_body) void mapper_v1_raw_body(void) {}

/* Where a pair comes from. */
enum { TH_REQUEST = 0, TH_QUERY = 1, TH_HEADER = 2, TH_FORM = 3, TH_JSON = 4 };

/* Fields of a report. */
enum {
  TH_REF_ID = 1, TH_CALL_ID, TH_NETWORK_CALL_ID, TH_CALLER, TH_DURATION, TH_PAYOUT, TH_CURRENCY,
  TH_STARTED_AT, TH_OCCURRED_AT, TH_STATUS, TH_TRANSACTION_ID, TH_KIND
};

/* Results without a report, for th_code; from TH_OWN on they are yours. */
enum { TH_DROP = 0, TH_MALFORMED = 1, TH_MISSING = 2, TH_UNSUPPORTED = 3, TH_OWN = 1000 };

enum { TH_BUFFER_BYTES = 192 << 10, TH_OUTPUT_BYTES = 16 << 10, TH_VALUE_BYTES = 256, TH_LONG_BYTES = 1024,
       TH_REPORTS = 256, TH_EXTRAS = 64, TH_CENTS_BYTES = 24 };

static th_u8 th_buffer[TH_BUFFER_BYTES];
static th_u8 th_output[TH_OUTPUT_BYTES];
static th_u32 th_pairs_at, th_body_at, th_end;            /* of the request, offsets into th_buffer */
static th_u32 th_at, th_report_at, th_reports, th_extras; /* of the output; th_report_at: where this report begins */
static th_text th_keys[64];
static th_u32 th_seen;                                    /* bit per field of this report, bit 0 its error text */
static th_bool th_begun, th_full;

TH_EXPORT(mapper_v1_buffer) th_u64 mapper_v1_buffer(void) { return (th_u64)(th_u32)th_buffer << 32 | TH_BUFFER_BYTES; }

/* ---- texts ---- */

static inline th_text th_slice(th_text t, th_u32 from, th_u32 to) { return (th_text){t.p + from, to - from}; }

static inline th_bool th_equal(th_text a, th_text b) {
  if (a.n != b.n) return 0;
  for (th_u32 i = 0; i < a.n; i++)
    if (a.p[i] != b.p[i]) return 0;
  return 1;
}

static inline th_u8 th_lower(th_u8 c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

/* Equal without regard to the case of A to Z. */
static inline th_bool th_equal_fold(th_text a, th_text b) {
  if (a.n != b.n) return 0;
  for (th_u32 i = 0; i < a.n; i++)
    if (th_lower(a.p[i]) != th_lower(b.p[i])) return 0;
  return 1;
}

static inline th_bool th_blank(th_u8 c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* t without blanks and line ends around it. */
static inline th_text th_trim(th_text t) {
  while (t.n && th_blank(*t.p)) t.p++, t.n--;
  while (t.n && th_blank(t.p[t.n - 1])) t.n--;
  return t;
}

/* Takes off the part of *rest before the first c, and c itself; all of it when
 * there is no c. `while (rest.n) { th_text part = th_cut(&rest, ';'); … }` */
static inline th_text th_cut(th_text *rest, th_u8 c) {
  th_text part = *rest;
  for (th_u32 i = 0; i < part.n; i++)
    if (part.p[i] == c) {
      *rest = th_slice(part, i + 1, part.n);
      return th_slice(part, 0, i);
    }
  *rest = th_slice(part, part.n, part.n);
  return part;
}

/* Where b begins in a, a.n when it is not there. */
static inline th_u32 th_find(th_text a, th_text b) {
  for (th_u32 i = 0; i + b.n <= a.n; i++)
    if (th_equal(th_slice(a, i, i + b.n), b)) return i;
  return a.n;
}

/* Reads the dotted name of something in a JSON array: calls.12.payout under
 * "calls" is *index 12, *rest "payout"; "" stands for the outermost array. */
static inline th_bool th_element(th_text name, th_text array, th_u32 *index, th_text *rest) {
  th_u32 i = array.n, digits = 0;
  if (name.n < i || !th_equal(th_slice(name, 0, i), array)) return 0;
  if (i && (i == name.n || name.p[i++] != '.')) return 0;
  for (*index = 0; i < name.n && name.p[i] >= '0' && name.p[i] <= '9' && digits < 6; i++, digits++)
    *index = *index * 10 + (name.p[i] - '0');
  if (!digits || (i < name.n && name.p[i] != '.')) return 0;
  *rest = th_slice(name, i < name.n ? i + 1 : i, name.n);
  return 1;
}

/* Whole cents as a decimal: "1234" is "12.34", "-5" is "-0.05". The result is in
 * scratch; it is none when t is not an optional minus and 1 to 16 digits. */
static inline th_text th_cents(th_text t, th_u8 scratch[TH_CENTS_BYTES]) {
  th_u32 n = 0;
  if (t.n && *t.p == '-') scratch[n++] = '-', t = th_slice(t, 1, t.n);
  if (t.n < 1 || t.n > 16) return (th_text){0, 0};
  for (th_u32 i = 0; i < t.n; i++)
    if (t.p[i] < '0' || t.p[i] > '9') return (th_text){0, 0};
  while (t.n > 3 && *t.p == '0') t = th_slice(t, 1, t.n);
  if (t.n < 3) scratch[n++] = '0';
  for (th_u32 i = t.n < 3 ? 0 : t.n - 2, j = 0; j < i; j++) scratch[n++] = t.p[j];
  scratch[n++] = '.';
  scratch[n++] = t.n > 1 ? t.p[t.n - 2] : '0';
  scratch[n++] = t.p[t.n - 1];
  return (th_text){scratch, n};
}

/* The configuration, in mapper_v1_init(length): copy what you need of it, the
 * first request overwrites it. */
static inline th_text th_config(th_u32 length) {
  return (th_text){th_buffer, length < TH_BUFFER_BYTES ? length : TH_BUFFER_BYTES};
}

/* ---- the request ---- */

static inline th_u32 th_u16_at(th_u32 i) { return th_buffer[i] | th_buffer[i + 1] << 8; }
static inline th_u32 th_u32_at(th_u32 i) { return th_u16_at(i) | th_u16_at(i + 2) << 16; }

/* Starts a call. False: the buffer holds nothing that this SDK reads. */
static th_bool th_begin(th_u32 length) {
  th_at = th_report_at = th_extras = th_seen = 0, th_reports = 1;
  th_begun = th_full = 0;
  th_pairs_at = th_body_at = th_end = 0;
  if (length < 32 || length > TH_BUFFER_BYTES || th_u32_at(0) != 0x314D4854 || th_u32_at(28) != length) return 0;
  th_u32 pairs = th_u16_at(24), body = th_u32_at(16);
  if (pairs < 32 || pairs > body || body > length || th_u32_at(20) != length - body) return 0;
  th_pairs_at = pairs, th_body_at = body, th_end = length;
  return 1;
}

/* A test of the integration: it is mapped as usual and books nothing. */
static inline th_bool th_is_test(void) { return th_u16_at(4) & 1; }
/* When the request came, milliseconds since 1970. */
static inline th_u64 th_received(void) { return (th_u64)th_u32_at(12) << 32 | th_u32_at(8); }
/* The body as it came. */
static inline th_text th_body(void) { return (th_text){th_buffer + th_body_at, th_end - th_body_at}; }

typedef struct {
  th_u32 at; /* of the next pair; 0 begins */
  th_u8 kind;
  th_text name, value;
} th_pair;

/* Walks all pairs in order: `th_pair p = {0}; while (th_next(&p)) …` */
static inline th_bool th_next(th_pair *p) {
  th_u32 at = p->at ? p->at : th_pairs_at;
  if (th_body_at - at < 6) return 0;
  th_u32 name = th_u16_at(at + 2), value = th_u16_at(at + 4);
  if (th_body_at - at - 6 < name + value) return 0;
  p->kind = th_buffer[at];
  p->name = (th_text){th_buffer + at + 6, name};
  p->value = (th_text){th_buffer + at + 6 + name, value};
  p->at = at + 6 + name + value;
  return 1;
}

/* The value of the first pair of that kind and name; none (p is 0) without one. */
static th_text th_get(th_u8 kind, th_text name) {
  th_pair p = {0};
  while (th_next(&p))
    if (p.kind == kind && th_equal(p.name, name)) return p.value;
  return (th_text){0, 0};
}

/* ---- the reports ---- */

static inline void th_put16(th_u32 v) { th_output[th_at++] = (th_u8)v, th_output[th_at++] = (th_u8)(v >> 8); }

/* Copies t to the output, where there is room for it, and says whether it is ASCII. */
static inline th_bool th_copy(th_text t) {
  th_u8 *to = th_output + th_at;
  th_u64 all = 0, eight;
  th_u32 i = 0;
  for (; i + 8 <= t.n; i += 8) {
    __builtin_memcpy(&eight, t.p + i, 8);
    __builtin_memcpy(to + i, &eight, 8);
    all |= eight;
  }
  for (; i < t.n; i++) all |= to[i] = t.p[i];
  th_at += t.n;
  return !(all & 0x8080808080808080);
}

static th_bool th_utf8(th_text t) {
  for (th_u32 i = 0; i < t.n;) {
    th_u32 c = t.p[i++], more = c < 0x80 ? 0 : c < 0xC2 ? 9 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : c < 0xF5 ? 3 : 9;
    if (t.n - i < more) return 0;
    if (more > 1) { /* no surrogates, nothing overlong, nothing over U+10FFFF */
      th_u32 d = t.p[i];
      if ((c == 0xE0 && d < 0xA0) || (c == 0xED && d > 0x9F) || (c == 0xF0 && d < 0x90) || (c == 0xF4 && d > 0x8F)) return 0;
    }
    for (; more; more--)
      if ((t.p[i++] & 0xC0) != 0x80) return 0;
  }
  return 1;
}

static inline th_bool th_room(th_u32 n) {
  if (TH_OUTPUT_BYTES - th_at < n) th_full = 1;
  return !th_full;
}

static th_bool th_fail2(th_text what, th_text text) {
  th_begun = 1;
  if (th_seen & 1) return 0;
  if (text.n > TH_LONG_BYTES - what.n) text.n = TH_LONG_BYTES - what.n;
  if (!th_room(4 + what.n + text.n)) return 0;
  th_put16(0x7fff), th_put16(what.n + text.n);
  th_u32 from = th_at;
  th_bool plain = th_copy(what);
  plain = th_copy(text) && plain;
  if (!plain && !th_utf8((th_text){th_output + from, th_at - from}))
    for (th_u32 i = from; i < th_at; i++)
      if (th_output[i] & 0x80) th_output[i] = '?';
  th_seen |= 1;
  return 1;
}

/* Makes this report invalid; a person reads the text. The first text counts. */
static inline th_bool th_fail(th_text text) { return th_fail2(TH(""), text); }

static th_text th_field_name(th_u16 field) {
  static const char names[13][16] = {"", "ref_id", "call_id", "network_call_id", "caller", "duration", "payout", "currency",
                                     "started_at", "occurred_at", "status", "transaction_id", "kind"};
  th_u32 n = 0;
  while (n < 15 && names[field][n]) n++;
  return (th_text){(const th_u8 *)names[field], n};
}

/* Sets a field of this report; an empty value is none. False: the field is set
 * already, or the value is over 256 bytes or no UTF-8 (the report is invalid then). */
static th_bool th_set(th_u16 field, th_text v) {
  th_begun = 1;
  if (field < TH_REF_ID || field > TH_KIND || th_seen >> field & 1) return 0;
  if (v.n == 0) return 1;
  if (v.n > TH_VALUE_BYTES) return th_fail2(th_field_name(field), TH(" is longer than 256 bytes")), 0;
  if (!th_room(4 + v.n)) return 0;
  th_u32 from = th_at;
  th_put16(field), th_put16(v.n);
  if (!th_copy(v) && !th_utf8(v)) {
    th_at = from;
    return th_fail2(th_field_name(field), TH(" is not UTF-8")), 0;
  }
  th_seen |= 1u << field;
  return 1;
}

/* Keeps a value under a key of your own. False: nothing was kept, for the report
 * has that key or 64 others, or the two are over 1,024 bytes or no UTF-8. */
static th_bool th_extra(th_text key, th_text value) {
  th_begun = 1;
  if (!key.n || th_extras == TH_EXTRAS || key.n > TH_LONG_BYTES || value.n > TH_LONG_BYTES - key.n) return 0;
  for (th_u32 i = 0; i < th_extras; i++)
    if (th_equal(th_keys[i], key)) return 0;
  if (!th_room(6 + key.n + value.n)) return 0;
  th_u32 from = th_at;
  th_put16(0x8000), th_put16(2 + key.n + value.n), th_put16(key.n);
  if ((!th_copy(key) && !th_utf8(key)) || (!th_copy(value) && !th_utf8(value))) return th_at = from, 0;
  th_keys[th_extras++] = (th_text){th_output + from + 6, key.n};
  return 1;
}

/* Begins a report. The first one needs no call, and one before anything was set
 * does nothing, so a loop may call it for each. False: there are 256. */
static th_bool th_next_report(void) {
  if (!th_begun) return th_begun = 1;
  if (th_reports == TH_REPORTS || !th_room(4)) return th_full = 1, 0;
  th_put16(0), th_put16(0);
  th_reports++, th_report_at = th_at, th_extras = th_seen = 0;
  return 1;
}

/* What mapper_v1_map returns: nothing to report, and why. TH_DROP: ignore the request. */
static inline th_u64 th_code(th_u32 code) { return code; }

/* What mapper_v1_map returns: the reports. When they did not fit into 16 KiB or
 * were over 256, none counts: half a report is worse than a refused one. */
static th_u64 th_done(void) { return th_full ? th_code(TH_UNSUPPORTED) : (th_u64)(th_u32)th_output << 32 | th_at; }

#endif
