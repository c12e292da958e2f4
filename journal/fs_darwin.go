package journal

// dataSync is Go's File.Sync, which asks the drive itself (F_FULLFSYNC).
func dataSync(f *osFile) error { return f.File.Sync() }
