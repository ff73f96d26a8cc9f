package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// avx2 goes over the rows in a loop, two at a time, into scratch, and then over
// the columns, two at a time, into out. 16 registers hold no more; and out can
// be prev, or be needed still.
func avx2() {
	right24, right16 := shuffle("right24", 3), shuffle("right16", 2)
	y := []vec{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7}

	p := begin("compressAVX2")
	Comment("How VPSHUFB rotates words by 24 and by 16 bits.")
	VMOVDQU(right24, Y14)
	VMOVDQU(right16, Y15)
	rotate := func(n U8, x, free vec) {
		switch n {
		case 32:
			VPSHUFD(U8(0xb1), x, x)
		case 24:
			VPSHUFB(Y14, x, x)
		case 16:
			VPSHUFB(Y15, x, x)
		case 63:
			VPADDQ(x, x, free)
			VPSRLQ(U8(63), x, x)
			VPXOR(free, x, x)
		}
	}
	xor := func(ops ...Op) { VPXOR(ops[0], ops[1], ops[2]) }

	Comment("P over the rows of prev xor ref, two at a time, into scratch.")
	pair := func(pointer Register, i int) Mem { return at(pointer, 32*i).Idx(RAX, 1) }
	loop("rows", 256, RAX, func() {
		for i := range y {
			VMOVDQU(pair(p.ref, i), y[i])
		}
		for i := range y {
			VPXOR(pair(p.prev, i), y[i], y[i])
		}
		ms := []matrix{{Y0, Y2, Y4, Y6, Y8}, {Y1, Y3, Y5, Y7, Y9}}
		quarters(ms, xor, rotate)
		for _, m := range ms {
			VPERMQ(U8(0b10_01_00_11), m.a, m.a)
			VPERMQ(U8(0b01_00_11_10), m.d, m.d)
			VPERMQ(U8(0b00_11_10_01), m.c, m.c)
		}
		quarters(ms, xor, rotate)
		for _, m := range ms {
			VPERMQ(U8(0b00_11_10_01), m.a, m.a)
			VPERMQ(U8(0b01_00_11_10), m.d, m.d)
			VPERMQ(U8(0b10_01_00_11), m.c, m.c)
		}
		for i := range y {
			VMOVDQU(y[i], pair(p.scratch, i))
		}
	})

	Comment("P over the columns, two at a time, and out = prev xor ref xor that.")
	pair = func(pointer Register, i int) Mem { return at(pointer, i/2*256+i%2*32).Idx(RAX, 1) }
	loop("columns", 64, RAX, func() {
		for i := range y {
			VMOVDQU(pair(p.scratch, i), y[i])
		}
		// A matrix's row is in two registers now, two words in each, and the
		// other column's beside them. Its words move by one or by three from
		// register to register, and by two when the registers change places.
		quarters([]matrix{{Y0, Y2, Y4, Y6, Y8}, {Y1, Y3, Y5, Y7, Y9}}, xor, rotate)
		second(Y1, Y0, Y8)  // a3 a0
		second(Y0, Y1, Y9)  // a1 a2
		second(Y4, Y5, Y10) // c1 c2
		second(Y5, Y4, Y11) // c3 c0
		quarters([]matrix{{Y8, Y2, Y10, Y7, Y0}, {Y9, Y3, Y11, Y6, Y1}}, xor, rotate)
		second(Y8, Y9, Y0)   // a0 a1
		second(Y9, Y8, Y1)   // a2 a3
		second(Y11, Y10, Y4) // c0 c1
		second(Y10, Y11, Y5) // c2 c3
		for i := range y {
			VPXOR(pair(p.prev, i), y[i], y[i])
		}
		for i := range y {
			VPXOR(pair(p.ref, i), y[i], y[i])
		}
		TESTB(CL, CL)
		JZ(LabelRef("store"))
		Comment("xor")
		for i := range y {
			VPXOR(pair(p.out, i), y[i], y[i])
		}
		Label("store")
		for i := range y {
			VMOVDQU(y[i], pair(p.out, i))
		}
	})
	VZEROUPPER()
	RET()
}

// loop does body four times, with offset growing by step.
func loop(name string, step U32, offset Register, body func()) {
	XORQ(offset, offset)
	Label(name)
	body()
	ADDQ(step, offset)
	CMPQ(offset, 4*step)
	JNE(LabelRef(name))
}

// second sets out to the second word of x and the first of y, in both halves.
func second(x, y, out vec) { VPALIGNR(U8(8), x, y, out) }

// shuffle makes the operand with which VPSHUFB rotates words right by so many
// bytes.
func shuffle(name string, n int) Mem {
	table := GLOBL(name, RODATA|NOPTR)
	for i := range 32 {
		DATA(i, U8(i/8%2*8+(i+n)%8)) //nolint:gosec // below 16
	}
	return table
}
