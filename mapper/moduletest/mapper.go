package moduletest

// Where the mappers made here have their buffer, and its size.
const (
	BufferAt    = 1024
	BufferBytes = 32 << 10
)

// outputAt is where Answering keeps its answer.
const outputAt = 65536

// Place is the code of a result word: n bytes at ptr.
func Place(ptr, n uint32) []byte { return I64Const(int64(uint64(ptr)<<32 | uint64(n))) }

// Mapper is a module whose mapper_v1_map runs code. The code has the input's
// length in local 0, an i64 in local 1, and leaves the result word.
func Mapper(code ...any) *Builder { return MapperPages(2, 256, code...) }

// MapperPages is Mapper with a memory of so many pages that can grow to most.
func MapperPages(pages, most uint32, code ...any) *Builder {
	m := new(Builder)
	m.Memory(pages, most)
	m.Complete(code...)
	return m
}

// Complete adds the two functions that every mapper exports.
func (m *Builder) Complete(code ...any) {
	m.Function("mapper_v1_buffer", "", "I", 0, Place(BufferAt, BufferBytes))
	m.Function("mapper_v1_map", "i", "I", 1, code...)
}

// Answering gives the record ref_id = text whatever it is asked.
func Answering(text string) *Builder {
	rec := "\x01\x00" + string([]byte{byte(len(text)), 0}) + text
	m := Mapper(Place(outputAt, uint32(len(rec))))
	m.Data(outputAt, rec)
	return m
}

// Echo gives its input as output.
func Echo() *Builder {
	return Mapper(I64Const(BufferAt), I64Const(32), OpI64Shl, LocalGet(0), OpI64Extend, OpI64Or)
}
