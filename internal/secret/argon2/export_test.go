package argon2

// Block is a block, its words in the order of [Slot].
type Block = block

// Compressor is a block function.
type Compressor = compressor

// Fastest is the block function that IDKey uses here, nil if none.
func Fastest() Compressor { return fastest() }

// Slot is where a word of a block stands.
func Slot(i int) int { return slot(i) }

// Input is what goes into a key.
type Input struct {
	Password, Salt, Secret, Data []byte
	Passes, Memory               uint32
	Lanes                        uint8
	KeySize                      uint32
}

// Derive gives the key that this block function leads to.
func Derive(m *Memory, compress Compressor, in Input) []byte {
	return derive(m, compress, input{
		password: in.Password, salt: in.Salt, secret: in.Secret, data: in.Data,
		passes: in.Passes, memory: in.Memory, lanes: uint32(in.Lanes), keySize: in.KeySize,
	})
}

// Dirt is how many bytes of the memory are not zero, and how many there are.
func (m *Memory) Dirt() (dirty, size int) {
	for i := range m.blocks {
		for _, w := range m.blocks[i] {
			if w != 0 {
				dirty += 8
			}
		}
	}
	for _, b := range append(m.h0[:], m.bytes[:]...) {
		if b != 0 {
			dirty++
		}
	}
	return dirty, len(m.blocks) * blockSize
}

// Soil fills the memory that there is with ones.
func (m *Memory) Soil() {
	for i := range m.blocks {
		for j := range m.blocks[i] {
			m.blocks[i][j] = ^uint64(0)
		}
	}
	m.used = len(m.blocks)
}
