package rewrite

// assemble writes the sections of the counting module in their order. Custom
// sections are left out.
func (m *module) assemble() []byte {
	out := make([]byte, 0, len(m.code)+len(m.bodies)+1024)
	out = append(out, "\x00asm\x01\x00\x00\x00"...)
	out = m.appendSection(out, sectionType, m.typeSection())
	if len(m.imports) > 0 {
		out = m.appendSection(out, sectionImport, m.grown(len(m.imports), m.importItems, nil, 0))
	}
	out = m.appendSection(out, sectionFunction, m.view(m.functionSection))
	out = m.appendSection(out, sectionTable, m.tableSection())
	out = m.appendSection(out, sectionMemory, m.memorySection())
	out = m.appendSection(out, sectionGlobal, m.globalSection())
	out = m.appendSection(out, sectionExport, m.exportSection())
	out = m.appendSection(out, sectionStart, m.view(m.start))
	out = m.appendSection(out, sectionElement, m.view(m.elementSection))
	out = m.appendSection(out, sectionDataCount, m.view(m.dataCount))
	if m.bodyCount > 0 {
		code := appendU32(nil, uint32(m.bodyCount))
		out = append(out, sectionCode)
		out = appendU32(out, uint32(len(code)+len(m.bodies)))
		out = append(append(out, code...), m.bodies...)
	}
	return m.appendSection(out, sectionData, m.view(m.dataSection))
}

// appendSection writes a section unless it is empty.
func (m *module) appendSection(dst []byte, id byte, content []byte) []byte {
	if len(content) == 0 {
		return dst
	}
	dst = appendU32(append(dst, id), uint32(len(content)))
	return append(dst, content...)
}

// grown writes a vector: the module's own items, then more of them.
func (m *module) grown(own int, items span, more []byte, moreCount int) []byte {
	content := appendU32(nil, uint32(own+moreCount))
	content = append(content, m.view(items)...)
	return append(content, more...)
}

func (m *module) typeSection() []byte {
	var more []byte
	for _, results := range m.wrappers {
		more = append(more, 0x60, 0)
		more = append(appendU32(more, uint32(len(results))), results...)
	}
	if len(m.types) == 0 {
		return nil // then there are no functions either
	}
	return m.grown(len(m.types), m.typeItems, more, len(m.wrappers))
}

func (m *module) tableSection() []byte {
	if len(m.tables) == 0 {
		return nil
	}
	content := appendU32(nil, uint32(len(m.tables)))
	for _, t := range m.tables {
		content = append(content, t.ref)
		content = t.append(content)
	}
	return content
}

func (m *module) memorySection() []byte {
	if len(m.memories) == 0 {
		return nil
	}
	return m.memories[0].append([]byte{1})
}

// append writes limits that have a maximum.
func (b bounds) append(dst []byte) []byte {
	return appendU32(appendU32(append(dst, 1), b.min), b.max)
}

func (m *module) globalSection() []byte {
	more := append([]byte{typeI64, 1, opI64Const}, appendSigned(nil, m.limits.FuelInit)...)
	more = append(more, opEnd, typeI32, 1, opI32Const)
	more = append(appendSigned(more, int64(m.limits.DepthMax)), opEnd)
	return m.grown(m.globals, m.globalItems, more, 2)
}

func (m *module) exportSection() []byte {
	var more []byte
	for i, name := range []string{FuelExport, DepthExport} {
		more = append(appendU32(more, uint32(len(name))), name...)
		more = appendU32(append(more, KindGlobal), uint32(m.globals+i))
	}
	return m.grown(len(m.exports), m.exportItems, more, 2)
}
