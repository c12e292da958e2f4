// A mapper's work in small, for the benchmark: pairs of names and values are in
// the buffer, five fields are found by name, checked and written behind them.
//
//   count u16, then: name length u16, value length u16, name, value

typedef unsigned char u8;
typedef unsigned int u32;

static u8 buffer[32768];

static u32 u16at(u32 at) { return buffer[at] | buffer[at + 1] << 8; }

static int same(const u8 *a, const char *b, u32 n) {
	for (u32 i = 0; i < n; i++)
		if (a[i] != (u8)b[i])
			return 0;
	return 1;
}

__attribute__((noinline)) static u32 find(const char *name, u32 length) {
	u32 at = 2;
	for (u32 i = u16at(0); i > 0; i--) {
		u32 n = u16at(at), v = u16at(at + 2);
		if (n == length && same(buffer + at + 4, name, n))
			return at;
		at += 4 + n + v;
	}
	return 0;
}

__attribute__((noinline)) static u32 put(u32 to, u32 field, u32 from) {
	u32 n = u16at(from), v = u16at(from + 2);
	buffer[to] = field;
	buffer[to + 1] = field >> 8;
	buffer[to + 2] = v;
	buffer[to + 3] = v >> 8;
	for (u32 i = 0; i < v; i++)
		buffer[to + 4 + i] = buffer[from + 4 + n + i];
	return to + 4 + v;
}

__attribute__((export_name("buffer"))) u32 place(void) { return (u32)buffer; }

__attribute__((export_name("map"))) u32 map(u32 length) {
	static const struct { const char *name; u32 length; } fields[] = {
		{"clickid", 7}, {"payout", 6}, {"caller_id", 9}, {"duration", 8}, {"status", 6},
	};
	u32 to = length;
	for (u32 i = 0; i < 5; i++) {
		u32 at = find(fields[i].name, fields[i].length);
		if (at)
			to = put(to, i + 1, at);
	}
	return to - length;
}
