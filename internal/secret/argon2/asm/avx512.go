package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// avx512 keeps the whole block in 16 registers and goes over all rows, then
// over all columns at once. It needs no scratch.
func avx512() {
	// Words of a column lie at 0, 1, 4, 5, those of the other at 2, 3, 6, 7.
	left := words("left", 1, 4, 3, 6, 5, 0, 7, 2)
	right := words("right", 5, 0, 7, 2, 1, 4, 3, 6)
	z := []vec{Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15}
	free := []vec{Z16, Z17, Z18, Z19}
	rotate := func(n U8, x, _ vec) { VPRORQ(n, x, x) }
	xor := func(ops ...Op) { VPXORQ(ops[0], ops[1], ops[2]) }

	p := begin("compressAVX512")
	Comment("How VPERMQ moves the words of two columns on by one, and back.")
	VMOVDQU64(left, Z20)
	VMOVDQU64(right, Z21)

	Comment("P over the rows of prev xor ref.")
	for i := range z {
		VMOVDQU64(at(p.ref, 64*i), z[i])
	}
	for i := range z {
		VPXORQ(at(p.prev, 64*i), z[i], z[i])
	}
	var rows, columns []matrix
	for i := range 4 {
		rows = append(rows, matrix{z[4*i], z[4*i+1], z[4*i+2], z[4*i+3], free[i]})
		columns = append(columns, matrix{z[i], z[4+i], z[8+i], z[12+i], free[i]})
	}
	quarters(rows, xor, rotate)
	for _, m := range rows {
		VPERMQ(U8(0b10_01_00_11), m.a, m.a)
		VPERMQ(U8(0b01_00_11_10), m.d, m.d)
		VPERMQ(U8(0b00_11_10_01), m.c, m.c)
	}
	quarters(rows, xor, rotate)
	for _, m := range rows {
		VPERMQ(U8(0b00_11_10_01), m.a, m.a)
		VPERMQ(U8(0b01_00_11_10), m.d, m.d)
		VPERMQ(U8(0b10_01_00_11), m.c, m.c)
	}

	Comment("P over the columns.")
	quarters(columns, xor, rotate)
	for _, m := range columns {
		VPERMQ(m.a, Z21, m.a)
		VSHUFI64X2(U8(0b01_00_11_10), m.d, m.d, m.d)
		VPERMQ(m.c, Z20, m.c)
	}
	quarters(columns, xor, rotate)
	for _, m := range columns {
		VPERMQ(m.a, Z20, m.a)
		VSHUFI64X2(U8(0b01_00_11_10), m.d, m.d, m.d)
		VPERMQ(m.c, Z21, m.c)
	}

	Comment("out = prev xor ref xor that.")
	for i := range z {
		VPXORQ(at(p.prev, 64*i), z[i], z[i])
	}
	for i := range z {
		VPXORQ(at(p.ref, 64*i), z[i], z[i])
	}
	TESTB(CL, CL)
	JZ(LabelRef("store"))
	Comment("xor")
	for i := range z {
		VPXORQ(at(p.out, 64*i), z[i], z[i])
	}
	Label("store")
	for i := range z {
		VMOVDQU64(z[i], at(p.out, 64*i))
	}
	VZEROUPPER()
	RET()
}

// words makes a table of which word VPERMQ takes for each.
func words(name string, from ...uint64) Mem {
	table := GLOBL(name, RODATA|NOPTR)
	for i, w := range from {
		DATA(8*i, U64(w))
	}
	return table
}
