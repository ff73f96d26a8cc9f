//go:build amd64 && gc && !purego

package argon2

import "golang.org/x/sys/cpu"

// Compressors are the block functions that can run here.
func Compressors() map[string]Compressor {
	found := map[string]Compressor{}
	if cpu.X86.HasAVX2 {
		found["AVX2"] = compressAVX2
	}
	if cpu.X86.HasAVX512F {
		found["AVX-512"] = compressAVX512
	}
	return found
}
