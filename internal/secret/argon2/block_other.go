//go:build !amd64 || !gc || purego

package argon2

// fastest is nil: there is no block function for this processor.
func fastest() compressor { return nil }
