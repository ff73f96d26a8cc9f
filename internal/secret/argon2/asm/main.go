// Command asm writes block_amd64.s: the compression function G of Argon2
// (RFC 9106, section 3.5) for AVX2 and for AVX-512.
//
// G takes a block for an 8×8 matrix of vectors of 16 bytes and lets the
// permutation P go over each row, then over each column. P (section 3.6) takes
// its 8 vectors for a 4×4 matrix of words with the rows a, b, c and d, and
// mixes its four columns with GB, then its four diagonals.
//
// In memory the vectors do not stand in the order of the RFC, but as slot in
// block.go tells: for each two rows r and s of the block
//
//	r0 r1 s0 s1   r2 r3 s2 s3   r4 r5 s4 s5   r6 r7 s6 s7
//
// For P over rows, these 64 bytes each are a, b, c and d of two rows at once.
// For P over columns, they are too: the first 64 bytes of the four pairs of rows
// are a, b, c and d of the columns 0 and 1, whose words lie by turns, 16 bytes
// each. So nothing is transposed, and only going over to the diagonals and
// back moves words.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64,gc,!purego")
	avx2()
	avx512()
	Generate()
}

type vec = VecPhysical

// matrix are registers that hold a, b, c and d, and one that nobody needs.
type matrix struct{ a, b, c, d, free vec }

// operands are what both functions are called with.
type operands struct{ out, prev, ref, scratch Register }

// begin starts func(out, prev, ref, scratch *block, xor bool). It leaves xor
// in CL.
func begin(name string) operands {
	const block = "[128]uint64"
	TEXT(name, NOSPLIT, "func(out, prev, ref, scratch *"+block+", xor bool)")
	Load(Param("xor"), CL)
	return operands{
		out:     Load(Param("out"), RDI),
		prev:    Load(Param("prev"), RSI),
		ref:     Load(Param("ref"), RDX),
		scratch: Load(Param("scratch"), R8),
	}
}

// quarters does GB on the four columns of each matrix. A step of all matrices
// is written before the next step of the first, since each step waits for the
// one before.
func quarters(ms []matrix, xor func(...Op), rotate func(n U8, x, free vec)) {
	for i, n := range []U8{32, 24, 16, 63} {
		step := func(do func(x, y, z, free vec)) {
			for _, m := range ms {
				if i%2 == 0 {
					do(m.a, m.b, m.d, m.free)
				} else {
					do(m.c, m.d, m.b, m.free)
				}
			}
		}
		// x += y + 2·lo(x)·lo(y); z = (z xor x) >>> n
		step(func(x, y, _, free vec) { VPMULUDQ(y, x, free) })
		step(func(x, y, _, _ vec) { VPADDQ(y, x, x) })
		step(func(_, _, _, free vec) { VPADDQ(free, free, free) })
		step(func(x, _, _, free vec) { VPADDQ(free, x, x) })
		step(func(x, _, z, _ vec) { xor(x, z, z) })
		step(func(_, _, z, free vec) { rotate(n, z, free) })
	}
}

// at is n bytes behind a pointer.
func at(pointer Register, n int) Mem { return Mem{Base: pointer, Disp: n} }
