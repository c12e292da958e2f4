/* The example "pairs" as a plugin of Extism: the same mapping of the same input
 * to the same output, behind Extism's ABI. Its PDK would make the same calls. */
#include "../../../plugins/examples/pairs/pairs.c"

#define IMPORT(name) __attribute__((import_module("extism:host/env"), import_name(#name))) extern
IMPORT(input_length) th_u64 input_length(void);
IMPORT(input_load_u8) th_u32 input_load_u8(th_u64 at);
IMPORT(input_load_u64) th_u64 input_load_u64(th_u64 at);
IMPORT(alloc) th_u64 alloc(th_u64 bytes);
IMPORT(store_u8) void store_u8(th_u64 at, th_u32 value);
IMPORT(store_u64) void store_u64(th_u64 at, th_u64 value);
IMPORT(output_set) void output_set(th_u64 at, th_u64 bytes);

/* Eight bytes at a time, as the PDK does. */
TH_EXPORT(map) th_u32 map(void) {
  th_u64 n = input_length(), i = 0, word;
  if (n > TH_BUFFER_BYTES) return 1;
  for (; i + 8 <= n; i += 8) {
    word = input_load_u64(i);
    __builtin_memcpy(th_buffer + i, &word, 8);
  }
  for (; i < n; i++) th_buffer[i] = (th_u8)input_load_u8(i);

  th_u64 result = mapper_v1_map((th_u32)n);
  const th_u8 *from = (const th_u8 *)(th_u32)(result >> 32);
  if (!from) return 2;
  n = (th_u32)result;
  th_u64 to = alloc(n);
  for (i = 0; i + 8 <= n; i += 8) {
    __builtin_memcpy(&word, from + i, 8);
    store_u64(to + i, word);
  }
  for (; i < n; i++) store_u8(to + i, from[i]);
  output_set(to, n);
  return 0;
}

/* What a call costs that does nothing. */
TH_EXPORT(nothing) th_u32 nothing(void) { return 0; }
