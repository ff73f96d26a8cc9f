// Package argon2 derives keys from passwords with Argon2id (RFC 9106, version
// 0x13), as golang.org/x/crypto/argon2 does and with the same result, but on
// memory that is used again from hash to hash, and with AVX-512 or AVX2 where
// the processor has them: two to four times as fast. Where it has neither,
// golang.org/x/crypto/argon2 does the work.
//
// It owns the arithmetic and its memory. What a hash costs, how it is written
// down and how many are made at once is package secret's.
package argon2

import (
	"encoding/binary"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/blake2b"
)

// Version is that of Argon2, as it stands in a PHC string.
const Version = argon2.Version

const (
	typeID = 2 // Argon2id
	slices = 4 // of a pass; lanes wait for each other after each
)

// input is what goes into a key: the parameters of RFC 9106, section 3.1.
type input struct {
	password, salt []byte
	secret, data   []byte
	passes         uint32
	memory         uint32 // KiB
	lanes          uint32
	keySize        uint32 // bytes
}

// IDKey gives the key of keySize bytes that Argon2id derives. It needs a pass,
// a lane and a byte of key at least, and panics without. Memory below 8 KiB for
// each lane counts as 8 KiB.
//
// The lanes are computed one after another: who calls has given one core to
// this hash, and the others to other work.
func IDKey(m *Memory, password, salt []byte, passes, memoryKiB uint32, lanes uint8, keySize uint32) []byte {
	in := input{
		password: password, salt: salt,
		passes: passes, memory: memoryKiB, lanes: uint32(lanes), keySize: keySize,
	}
	compress := fastest()
	if compress == nil {
		in.check()
		return argon2.IDKey(password, salt, passes, memoryKiB, lanes, keySize)
	}
	return derive(m, compress, in)
}

func (in input) check() {
	if in.passes < 1 || in.lanes < 1 || in.keySize < 1 {
		panic("argon2: a hash needs at least one pass, one lane and one byte of key")
	}
}

// segment is how many blocks a lane has in a slice (RFC 9106, section 3.2,
// steps 2 and 4.2).
func (in input) segment() uint32 { return max(in.memory/(slices*in.lanes), 2) }

func derive(m *Memory, compress compressor, in input) []byte {
	in.check()
	m.enter()
	defer m.leave()
	f := &filling{input: in, compress: compress, segment: in.segment()}
	f.laneSize = slices * f.segment
	f.work, f.blocks = m.take(int(in.lanes) * int(f.laneSize))

	in.digest(&m.h0)
	for lane := range in.lanes {
		for i := range uint32(2) {
			binary.LittleEndian.PutUint32(m.h0[blake2b.Size:], i)
			binary.LittleEndian.PutUint32(m.h0[blake2b.Size+4:], lane)
			hash(m.bytes[:], m.h0[:])
			f.blocks[lane*f.laneSize+i].set(&m.bytes)
		}
	}
	f.fill()

	sum := f.work.scratch()
	clear(sum[:])
	for lane := range in.lanes {
		for i, w := range f.blocks[(lane+1)*f.laneSize-1] {
			sum[i] ^= w
		}
	}
	sum.bytes(&m.bytes)
	key := make([]byte, in.keySize)
	hash(key, m.bytes[:])
	return key
}

// seed is H_0 of RFC 9106, with room for the two numbers that steps 3 and 4 of
// section 3.2 put behind it.
type seed [blake2b.Size + 8]byte

func (in input) digest(h0 *seed) {
	le := binary.LittleEndian
	b := make([]byte, 0, 10*4+len(in.password)+len(in.salt)+len(in.secret)+len(in.data))
	for _, n := range []uint32{in.lanes, in.keySize, in.memory, in.passes, Version, typeID} {
		b = le.AppendUint32(b, n)
	}
	for _, s := range [][]byte{in.password, in.salt, in.secret, in.data} {
		b = le.AppendUint32(b, uint32(len(s))) //nolint:gosec // nobody sends 4 GiB
		b = append(b, s...)
	}
	sum := blake2b.Sum512(b)
	copy(h0[:], sum[:])
	clear(b)
}

// hash fills out with H' of in (RFC 9106, section 3.3).
func hash(out, in []byte) {
	b := make([]byte, 0, 4+len(in))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(out))) //nolint:gosec // a block's size or keySize
	b = append(b, in...)
	for len(out) > blake2b.Size {
		v := blake2b.Sum512(b)
		b = append(b[:0], v[:]...)
		out = out[copy(out, v[:blake2b.Size/2]):]
	}
	h, err := blake2b.New(len(out), nil)
	if err != nil {
		panic(err) // there is one of each size from 1 to 64 bytes
	}
	_, _ = h.Write(b) // never fails
	h.Sum(out[:0])
	clear(b[:cap(b)])
}
