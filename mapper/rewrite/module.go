package rewrite

// module is what the reading of the sections found out. Sections that the
// output takes over are kept as places in the input.
type module struct {
	reader
	limits Limits

	types     []functionType
	functions []uint32 // types; imported ones first
	imports   []Import
	tables    []bounds
	memories  []bounds
	globals   int
	exports   []Export
	elements  int // segments
	data      int // segments, as the data count section says

	typeItems, importItems, globalItems, exportItems span // without the vectors' lengths
	functionSection, start, elementSection           span // whole contents
	dataCount, dataSection                           span

	bodyCount int
	bodyBytes int
	names     map[int]string // of exported functions
	body      body           // of the function being read, its memory used again
	wrappers  [][]byte       // result lists of the block types to add behind the types
	bodies    []byte         // rewritten, with their sizes
	scratch   []byte         // of the function being written, its memory used again
}

type functionType struct{ params, results []byte } // views of the input

// bounds are a table's or memory's limits; ref is a table's type.
type bounds struct {
	ref      byte
	min, max uint32
}

// span is a part of the input.
type span struct{ from, to int }

func (s span) bytes() int { return s.to - s.from }

func (m *module) view(s span) []byte { return m.code[s.from:s.to] }

// Sections by their number in the file, and by their place in the order, which
// has the data count before the code.
const (
	sectionType = 1 + iota
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
)

var sectionNames = [...]string{"custom section", "type section", "import section", "function section", "table section",
	"memory section", "global section", "export section", "start section", "element section", "code section",
	"data section", "data count section"}

var sectionOrder = [...]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10}

func (m *module) read() {
	if !m.atMost(RefuseModuleBytes, len(m.code), m.limits.ModuleBytesMax, "bytes",
		"build with size optimisation and without debug information (strip it)") {
		return
	}
	if string(m.code[:min(8, len(m.code))]) != "\x00asm\x01\x00\x00\x00" {
		m.refuse(RefuseNotWasm, "the file is no WebAssembly core module (it does not begin with \\0asm and version 1): "+
			"upload the .wasm file itself, not text, an archive or a component")
		return
	}
	m.at = 8
	for last := 0; m.ok() && m.left() > 0; {
		last = m.readSection(last)
	}
	if m.ok() && len(m.functions)-len(m.imports) != m.bodyCount {
		m.malformed("the numbers of functions and of bodies differ")
	}
	if m.ok() && m.data > 0 && m.dataSection.bytes() == 0 {
		m.malformed("a data count without data")
	}
}

// readSection reads one section to its last byte and gives its place in the order.
func (m *module) readSection(last int) int {
	m.section = "module"
	id := int(m.byte())
	if id >= len(sectionNames) {
		m.unsupported("an unknown kind of section")
		return last
	}
	m.section = sectionNames[id]
	size := m.u32()
	if !m.ok() || int64(size) > int64(m.left()) {
		m.malformed("it ends too early")
		return last
	}
	from := m.at
	outer := m.end
	m.end = m.at + int(size)
	if id == 0 { // names and debug information: left out
		if m.text(m.limits.NameBytesMax); m.ok() {
			m.at, m.end = m.end, outer
		}
		return last
	}
	if sectionOrder[id] <= last {
		m.malformed("it stands twice or in the wrong order")
		return last
	}
	to := m.end
	m.readContent(id, span{from, to})
	if m.ok() && m.at != to {
		m.malformed("it has bytes to spare")
	}
	if m.ok() {
		m.end = outer
	}
	return sectionOrder[id]
}

func (m *module) readContent(id int, whole span) {
	switch id {
	case sectionType:
		m.readTypes()
	case sectionImport:
		m.readImports()
	case sectionFunction:
		m.functionSection = whole
		m.readFunctions()
	case sectionTable:
		m.readTables()
	case sectionMemory:
		m.readMemories()
	case sectionGlobal:
		m.readGlobals()
	case sectionExport:
		m.readExports()
	case sectionStart:
		m.start = whole
		m.functionIndex()
	case sectionElement:
		m.elementSection = whole
		m.readElements()
	case sectionDataCount:
		m.dataCount = whole
		m.data = int(m.u32())
	case sectionCode:
		m.readBodies()
	case sectionData:
		m.dataSection = whole
		m.readData()
	}
}

// functionIndex reads the index of a function, imported ones included.
func (m *module) functionIndex() uint32 { return m.index("function", len(m.functions)) }

// index reads a reference to one of count things.
func (m *module) index(what string, count int) uint32 {
	i := m.u32()
	if m.ok() && int64(i) >= int64(count) {
		m.unknown(what, i, count)
		return 0
	}
	return i
}
