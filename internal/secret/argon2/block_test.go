//go:build linux

package argon2_test

import (
	"crypto/sha3"
	"encoding/binary"
	"math/bits"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"propusk/internal/secret/argon2"
)

// The block functions against RFC 9106, sections 3.5 and 3.6, written down as
// they stand there. Behind each operand, or before it, there is no memory, so
// that a byte too far is a fault; and all may be one another.
func TestBlockFunctionsDoWhatTheRFCSays(t *testing.T) {
	page := unix.Getpagesize()
	operand := func(end bool) *argon2.Block {
		mapped, err := unix.Mmap(-1, 0, 3*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Munmap(mapped) })
		if err := unix.Mprotect(mapped[page:2*page], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			t.Fatal(err)
		}
		place := page
		if end {
			place = 2*page - len(argon2.Block{})*8
		}
		return (*argon2.Block)(unsafe.Pointer(&mapped[place])) //nolint:gosec // a page has room for it
	}
	fill := filler()
	for name, compress := range argon2.Compressors() {
		for _, end := range []bool{false, true} {
			out, prev, ref, scratch := operand(end), operand(end), operand(end), operand(end)
			for _, c := range []struct {
				name           string
				out, prev, ref *argon2.Block
			}{
				{"apart", out, prev, ref},
				{"out is prev", prev, prev, ref},
				{"out is ref", ref, prev, ref},
				{"prev is ref", out, prev, prev},
				{"all one", out, out, out},
			} {
				for _, xor := range []bool{false, true} {
					for range 50 {
						fill(out[:])
						fill(prev[:])
						fill(ref[:])
						fill(scratch[:])
						want := g(c.prev, c.ref)
						if xor {
							for i := range want {
								want[i] ^= c.out[i]
							}
						}
						prevBefore, refBefore := *prev, *ref
						compress(c.out, c.prev, c.ref, scratch, xor)
						if *c.out != want {
							t.Fatalf("%s, %s, at the end %t, xor %t: another block than the RFC's", name, c.name, end, xor)
						}
						if c.out == out && (*prev != prevBefore || *ref != refBefore) {
							t.Fatalf("%s, %s: an input was written to", name, c.name)
						}
					}
				}
			}
		}
	}
}

// Alignment makes a block function slower, not wrong.
func TestBlockFunctionsTakeAnyAlignment(t *testing.T) {
	room := make([]uint64, 5*128)
	fill := filler()
	for name, compress := range argon2.Compressors() {
		for shift := range 9 {
			at := func(i int) *argon2.Block { return (*argon2.Block)(room[i*128+shift:]) }
			fill(room)
			before := append([]uint64(nil), room...)
			want := g(at(1), at(2))
			compress(at(0), at(1), at(2), at(3), false)
			if *at(0) != want {
				t.Errorf("%s, %d bytes off: another block than the RFC's", name, 8*shift)
			}
			for i := range room {
				inOut, inScratch := i >= shift && i < 128+shift, i >= 3*128+shift && i < 4*128+shift
				if room[i] != before[i] && !inOut && !inScratch {
					t.Errorf("%s, %d bytes off: wrote to word %d, outside of out and scratch", name, 8*shift, i)
				}
			}
		}
	}
}

// filler gives a function that fills words with others each time.
func filler() func(words []uint64) {
	stream := sha3.NewSHAKE128()
	return func(words []uint64) {
		b := make([]byte, 8*len(words))
		_, _ = stream.Read(b)
		for i := range words {
			words[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
	}
}

// g is G of section 3.5, of blocks whose words stand where slot puts them.
func g(x, y *argon2.Block) argon2.Block {
	var r, z [128]uint64
	for i := range r {
		r[i] = x[argon2.Slot(i)] ^ y[argon2.Slot(i)]
	}
	z = r
	for row := range 8 {
		var v [16]*uint64
		for i := range v {
			v[i] = &z[16*row+i]
		}
		p(v)
	}
	for column := range 8 {
		var v [16]*uint64
		for i := range v {
			v[i] = &z[16*(i/2)+2*column+i%2]
		}
		p(v)
	}
	var out argon2.Block
	for i := range z {
		out[argon2.Slot(i)] = r[i] ^ z[i]
	}
	return out
}

// p is P of section 3.6.
func p(v [16]*uint64) {
	gb := func(a, b, c, d *uint64) {
		step := func(x, y, z *uint64, n int) {
			*x += *y + 2*(*x&0xffffffff)*(*y&0xffffffff)
			*z = bits.RotateLeft64(*z^*x, -n)
		}
		step(a, b, d, 32)
		step(c, d, b, 24)
		step(a, b, d, 16)
		step(c, d, b, 63)
	}
	for _, i := range [][4]int{
		{0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15},
		{0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13}, {3, 4, 9, 14},
	} {
		gb(v[i[0]], v[i[1]], v[i[2]], v[i[3]])
	}
}
