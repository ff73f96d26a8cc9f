package argon2

import "sync/atomic"

// Memory is what hashes are computed in, one at a time. It grows to what the
// costliest of them needs and stays, so that only the first pays for getting it
// from the operating system, a third of a hash's time. The zero Memory is ready
// for use. It must not be copied.
//
// What a hash leaves behind gives the password away to whoever reads it: with
// the salt, a guess can be tested without the cost of Argon2. The next hash
// overwrites it; call [Memory.Wipe] when there is none to come.
type Memory struct {
	busy   atomic.Bool
	blocks []block
	used   int // blocks that are not wiped
	unmap  func()

	h0    seed
	bytes [blockSize]byte // of a block in the RFC's order
}

// workspace is for what a hash needs beside its matrix. It stands in front of
// that, so that it is aligned and wiped as well.
type workspace [4]block

func (w *workspace) scratch() *block      { return &w[0] } // the compressor's
func (w *workspace) addressInput() *block { return &w[1] }
func (w *workspace) addresses() *block    { return &w[2] }
func (w *workspace) zero() *block         { return &w[3] }

// Wipe overwrites what the hashes since the last Wipe have left behind, at some
// 30 GB/s.
func (m *Memory) Wipe() {
	m.enter()
	defer m.leave()
	m.wipe()
}

// Release wipes the memory and gives it back to the operating system. The next
// hash gets new memory.
func (m *Memory) Release() {
	m.enter()
	defer m.leave()
	m.release()
}

func (m *Memory) wipe() {
	// Block by block: all at once, the goroutine could not be stopped for a
	// millisecond, and the collector would have the whole program wait for it.
	for i := range m.blocks[:m.used] {
		clear(m.blocks[i][:])
	}
	clear(m.h0[:])
	clear(m.bytes[:])
	m.used = 0
}

func (m *Memory) release() {
	m.wipe()
	if m.unmap != nil {
		m.unmap()
	}
	m.blocks, m.unmap = nil, nil
}

// take gives n blocks and a workspace, with anything in them.
func (m *Memory) take(n int) (*workspace, []block) {
	n += len(workspace{})
	if n > len(m.blocks) {
		m.release()
		m.blocks, m.unmap = allocate(n)
	}
	m.used = max(m.used, n)
	return (*workspace)(m.blocks), m.blocks[len(workspace{}):n]
}

// enter sees to it that two hashes never share memory: the race detector does
// not see what the block functions do, and both keys would be wrong.
func (m *Memory) enter() {
	if !m.busy.CompareAndSwap(false, true) {
		panic("argon2: Memory is used by two goroutines at once")
	}
}

func (m *Memory) leave() { m.busy.Store(false) }
