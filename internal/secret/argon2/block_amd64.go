//go:build amd64 && gc && !purego

package argon2

import "golang.org/x/sys/cpu"

//go:generate go run -C asm . -out ../block_amd64.s

// Both are [compressor]s. They take about 0.15 µs, in which the scheduler
// cannot stop the goroutine, and use no stack.

//go:noescape
func compressAVX2(out, prev, ref, scratch *block, xor bool)

//go:noescape
func compressAVX512(out, prev, ref, scratch *block, xor bool)

// fastest is the block function for this processor, nil if there is none.
func fastest() compressor {
	switch {
	case hasAVX512():
		return compressAVX512
	case cpu.X86.HasAVX2:
		return compressAVX2
	}
	return nil
}

// hasAVX512 wants VBMI2 too, of which nothing is used: the processors without
// it (Skylake to Cooper Lake) lower the clock of the whole core for 512-bit
// multiplications, and other requests would pay for a hash.
func hasAVX512() bool { return cpu.X86.HasAVX512F && cpu.X86.HasAVX512VBMI2 }
