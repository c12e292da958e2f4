package rewrite

// Limits are the caps on a module's structure. They exist because compiling is
// the weakest place of a WebAssembly runtime: some thousand nested blocks, or
// locals that live across many loops, cost seconds and hundreds of megabytes
// from a file of a few kilobytes. Every cap stands well above what compilers
// emit for real mappers in C, Rust, AssemblyScript, Go and QuickJS.
type Limits struct {
	ModuleBytesMax int // of the file as uploaded
	NameBytesMax   int // of one import's or export's name

	TypesMax     int
	ImportsMax   int // functions; nothing else may be imported
	FunctionsMax int // the module's own
	GlobalsMax   int
	ExportsMax   int
	ParamsMax    int // of one function type
	ResultsMax   int // of one function type

	TablesMax          int
	TableEntriesMax    uint32 // of one table
	ElementSegmentsMax int
	ElementsMax        int // entries of all element segments
	DataSegmentsMax    int // Go writes tens of thousands, one for each stretch between zeros

	MemoryPagesInitialMax uint32 // pages of 64 KiB
	MemoryPagesMax        uint32 // written as the memory's maximum if it declares none or a larger one

	BodyBytesMax        int // of one function, also its longest stretch of straight code
	LocalsMax           int // of one function, parameters included
	OperandsMax         int // values on one function's operand stack at once
	BlocksMax           int // block, loop and if of one function
	NestingMax          int // blocks inside one another
	LoopsMax            int // of one function
	LocalsTimesLoopsMax int // of one function
	BranchesMax         int // br, br_if and br_table of one function
	BulkMax             int // memory.fill, copy, init and grow of one function: each is much code when compiled
	BranchTargetsMax    int // of all br_table instructions of one function

	FuelInit int64 // fuel of instantiation, the start function included
	DepthMax int32 // calls inside one another, leaf functions not counted
}

// Default gives the limits of the standard tier.
func Default() Limits {
	return Limits{
		ModuleBytesMax: 4 << 20,
		NameBytesMax:   1024,

		TypesMax:     1024,
		ImportsMax:   64,
		FunctionsMax: 8192,
		GlobalsMax:   1024,
		ExportsMax:   1024,
		ParamsMax:    16,
		ResultsMax:   4,

		TablesMax:          1,
		TableEntriesMax:    16384,
		ElementSegmentsMax: 1024,
		ElementsMax:        16384,
		DataSegmentsMax:    100_000,

		MemoryPagesInitialMax: 64,
		MemoryPagesMax:        256,

		BodyBytesMax:        64 << 10,
		LocalsMax:           512,
		OperandsMax:         512,
		BlocksMax:           2048,
		NestingMax:          1024,
		LoopsMax:            256,
		LocalsTimesLoopsMax: 32768,
		BranchesMax:         2048,
		BulkMax:             512,
		BranchTargetsMax:    2048,

		FuelInit: 30_000_000,
		DepthMax: 512,
	}
}
