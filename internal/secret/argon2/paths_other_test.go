//go:build !amd64 || !gc || purego

package argon2

// Compressors are the block functions that can run here.
func Compressors() map[string]Compressor { return nil }
