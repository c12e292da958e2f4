package rewrite

import "fmt"

func (m *module) readTypes() {
	n := m.count(3)
	if !m.atMost(RefuseTypes, n, m.limits.TypesMax, "types", "split the mapper or use fewer function signatures") {
		return
	}
	m.typeItems.from = m.at
	m.types = make([]functionType, 0, n)
	for i := 0; i < n && m.ok(); i++ {
		if m.byte() != 0x60 {
			m.unsupported("a type that is no function type")
		}
		params, results := m.valueTypes(), m.valueTypes()
		what := fmt.Sprintf("in type %d", i)
		m.atMost(RefuseParams, len(params), m.limits.ParamsMax, "parameters "+what, "pass a pointer to a structure instead")
		m.atMost(RefuseResults, len(results), m.limits.ResultsMax, "results "+what, "return a pointer to a structure instead")
		m.types = append(m.types, functionType{params, results})
	}
	m.typeItems.to = m.at
}

func (m *module) valueTypes() []byte {
	list := m.skip(m.count(1))
	for _, t := range list {
		if !isValueType(t) {
			m.unsupported(fmt.Sprintf("the value type %#x", t))
		}
	}
	return list
}

func (m *module) readImports() {
	n := m.count(4)
	if !m.atMost(RefuseImports, n, m.limits.ImportsMax, "imports", "a mapper needs none; leave out what reaches for the system") {
		return
	}
	m.importItems.from = m.at
	for i := 0; i < n && m.ok(); i++ {
		imp := Import{Module: m.text(m.limits.NameBytesMax), Name: m.text(m.limits.NameBytesMax)}
		if kind := m.byte(); m.ok() && kind != KindFunction {
			m.refuse(RefuseImportKind, "the module imports %q from %q, which is no function: define memory, tables and globals in the module itself (no --import-memory, --import-table)", imp.Name, imp.Module)
		}
		t := m.index("type", len(m.types))
		if !m.ok() {
			return
		}
		imp.Params, imp.Results = clone(m.types[t].params), clone(m.types[t].results)
		m.imports = append(m.imports, imp)
		m.functions = append(m.functions, t)
	}
	m.importItems.to = m.at
}

func (m *module) readFunctions() {
	n := m.count(1)
	if !m.atMost(RefuseFunctions, n, m.limits.FunctionsMax, "functions", "leave out libraries that the mapper does not need") {
		return
	}
	for i := 0; i < n && m.ok(); i++ {
		m.functions = append(m.functions, m.index("type", len(m.types)))
	}
}

func (m *module) readTables() {
	n := m.count(3)
	if !m.atMost(RefuseTables, n, m.limits.TablesMax, "tables", "build without reference types") {
		return
	}
	for i := 0; i < n && m.ok(); i++ {
		ref := m.byte()
		if m.ok() && !isRefType(ref) {
			m.unsupported(fmt.Sprintf("the table type %#x", ref))
		}
		t := m.bounds()
		if m.ok() && t.min > m.limits.TableEntriesMax {
			m.refuse(RefuseTableEntries, "table %d has %d entries; at most %d are allowed: a table needs no more entries than there are functions whose address is taken",
				i, t.min, m.limits.TableEntriesMax)
		}
		t.ref, t.max = ref, t.min // it cannot grow
		m.tables = append(m.tables, t)
	}
}

func (m *module) readMemories() {
	n := m.count(2)
	if !m.atMost(RefuseMemories, n, 1, "memories", "build without multiple memories") {
		return
	}
	for i := 0; i < n && m.ok(); i++ {
		b := m.bounds()
		if m.ok() && b.min > m.limits.MemoryPagesInitialMax {
			m.refuse(RefuseMemoryPages, "the memory begins with %d pages of 64 KiB; at most %d are allowed: make the stack and static buffers smaller, or allocate when needed (at most %d pages in all)",
				b.min, m.limits.MemoryPagesInitialMax, m.limits.MemoryPagesMax)
		}
		b.max = min(b.max, max(b.min, m.limits.MemoryPagesMax), 1<<16)
		m.memories = append(m.memories, b)
	}
}

// bounds reads limits; without a maximum it is the largest number.
func (m *module) bounds() bounds {
	flags := m.byte()
	switch {
	case flags&^7 != 0:
		m.malformed(fmt.Sprintf("unknown limits %#x", flags))
	case flags&4 != 0:
		m.unsupported("64-bit addresses (memory64)")
	case flags&2 != 0:
		m.unsupported("shared memory (threads)")
	}
	b := bounds{min: m.u32(), max: 1<<32 - 1}
	if flags&1 != 0 {
		b.max = m.u32()
	}
	if m.ok() && b.max < b.min {
		m.malformed(fmt.Sprintf("a maximum of %d below the minimum of %d", b.max, b.min))
	}
	if m.ok() && m.section == sectionNames[sectionMemory] && flags&1 != 0 && b.max > 1<<16 {
		m.malformed(fmt.Sprintf("a maximum of %d pages, more than an address reaches", b.max))
	}
	return b
}

func (m *module) readGlobals() {
	n := m.count(4)
	if !m.atMost(RefuseGlobals, n, m.limits.GlobalsMax, "globals", "keep such values in memory") {
		return
	}
	m.globalItems.from = m.at
	for i := 0; i < n && m.ok(); i++ {
		if t := m.byte(); m.ok() && !isValueType(t) {
			m.unsupported(fmt.Sprintf("the value type %#x", t))
		}
		if mutable := m.byte(); mutable > 1 {
			m.malformed("a global is neither constant nor variable")
		}
		m.constant()
	}
	m.globals = n
	m.globalItems.to = m.at
}

func (m *module) readExports() {
	n := m.count(3)
	if !m.atMost(RefuseExports, n, m.limits.ExportsMax, "exports", "export only the functions of the mapper interface and the memory") {
		return
	}
	m.exportItems.from = m.at
	m.names = make(map[int]string, n)
	seen := make(map[string]bool, n)
	for i := 0; i < n && m.ok(); i++ {
		e := Export{Name: m.text(m.limits.NameBytesMax), Kind: m.byte()}
		switch {
		case !m.ok():
			return
		case e.Name == FuelExport || e.Name == DepthExport:
			m.refuse(RefuseReservedName, "the module exports %q, a name of the host's own: choose another one", e.Name)
		case seen[e.Name]:
			m.refuse(RefuseExportTwice, "the module has two exports named %q: keep one of them", e.Name)
		}
		seen[e.Name] = true
		m.readExported(&e)
		m.exports = append(m.exports, e)
	}
	m.exportItems.to = m.at
}

func (m *module) readExported(e *Export) {
	switch e.Kind {
	case KindFunction:
		f := m.functionIndex()
		if !m.ok() {
			return
		}
		t := m.types[m.functions[f]]
		e.Params, e.Results = clone(t.params), clone(t.results)
		m.names[int(f)] = e.Name
	case KindTable:
		m.index("table", len(m.tables))
	case KindMemory:
		m.index("memory", len(m.memories))
	case KindGlobal:
		m.index("global", m.globals)
	default:
		m.unsupported(fmt.Sprintf("an export of kind %d", e.Kind))
	}
}

// clone keeps what goes to the caller apart from the upload's memory.
func clone(b []byte) []byte { return append([]byte(nil), b...) }
