package argon2

import "encoding/binary"

const (
	blockSize  = 1024 // bytes
	blockWords = blockSize / 8
)

// block is a block of Argon2's memory, with its words where slot puts them.
type block [blockWords]uint64

// compressor sets out to G(prev, ref) (RFC 9106, section 3.5), or with xor to
// out XOR G(prev, ref). It overwrites scratch. out may be prev or ref.
type compressor func(out, prev, ref, scratch *block, xor bool)

// slot is where word i of a block stands: of 16 words in each of 8 rows, words
// 0 to 3 of an even row come before words 0 to 3 of the row below it, then
// words 4 to 7 of both, and so on. That is the order in which a register of 64
// bytes holds what belongs together; asm/main.go tells more. Word 0 stays.
func slot(i int) int {
	row, word := i/16, i%16
	return row/2*32 + word/4*8 + row%2*4 + word%4
}

func (b *block) set(from *[blockSize]byte) {
	for i := range blockWords {
		b[slot(i)] = binary.LittleEndian.Uint64(from[8*i:])
	}
}

func (b *block) bytes(to *[blockSize]byte) {
	for i := range blockWords {
		binary.LittleEndian.PutUint64(to[8*i:], b[slot(i)])
	}
}
