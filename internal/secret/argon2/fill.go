package argon2

// filling is a matrix of blocks on its way to a key. Lane after lane stands in
// blocks.
type filling struct {
	input
	compress compressor
	work     *workspace
	blocks   []block
	laneSize uint32 // blocks
	segment  uint32 // blocks of a lane in a slice
}

// place is that of a segment.
type place struct{ pass, slice, lane uint32 }

func (f *filling) fill() {
	for pass := range f.passes {
		for slice := range uint32(slices) {
			for lane := range f.lanes {
				f.fillSegment(place{pass, slice, lane})
			}
		}
	}
}

// fillSegment does steps 5 and 6 of RFC 9106, section 3.2, for a segment.
func (f *filling) fillSegment(p place) {
	// Argon2id: where the first half of the first pass reads must not depend on
	// the password, since others on this machine could find out where it does.
	independent := p.pass == 0 && p.slice < slices/2
	if independent {
		f.startAddresses(p)
	}
	first := uint32(0)
	if p.pass == 0 && p.slice == 0 {
		first = 2 // made of H_0
	}
	start := p.lane * f.laneSize
	for i := first; i < f.segment; i++ {
		column := p.slice*f.segment + i
		prev := &f.blocks[start+(column+f.laneSize-1)%f.laneSize]
		var random uint64
		if independent {
			random = f.address(i)
		} else {
			random = prev[slot(0)]
		}
		ref := &f.blocks[f.reference(p, i, random)]
		f.compress(&f.blocks[start+column], prev, ref, f.work.scratch(), p.pass > 0)
	}
}

// startAddresses sets up the block that the addresses of a segment are made
// from (RFC 9106, section 3.4.1.2).
func (f *filling) startAddresses(p place) {
	in := f.work.addressInput()
	clear(in[:])
	for i, w := range []uint32{p.pass, p.lane, p.slice, f.lanes * f.laneSize, f.passes, typeID} {
		in[slot(i)] = uint64(w)
	}
	if p.pass == 0 && p.slice == 0 {
		f.nextAddresses() // the loop begins behind number 0, where it would be done
	}
}

// address is the random number of the segment's block i, where it does not
// come from a block.
func (f *filling) address(i uint32) uint64 {
	if i%blockWords == 0 {
		f.nextAddresses()
	}
	return f.work.addresses()[slot(int(i%blockWords))]
}

// nextAddresses makes 128 more.
func (f *filling) nextAddresses() {
	in, out, zero := f.work.addressInput(), f.work.addresses(), f.work.zero()
	in[slot(6)]++
	clear(zero[:])
	f.compress(out, zero, in, f.work.scratch(), false)
	f.compress(out, zero, out, f.work.scratch(), false)
}

// reference is the number of the block that block i of a segment refers to
// (RFC 9106, section 3.4.1.3 and 3.4.2). random is J_1, and J_2 above it.
func (f *filling) reference(p place, i uint32, random uint64) uint32 {
	lane := p.lane
	if f.lanes > 1 && (p.pass > 0 || p.slice > 0) {
		lane = uint32(random>>32) % f.lanes
	}
	// W, the blocks to choose from: those of the segments that are finished, in
	// this pass or else the one before, from the oldest on,
	size, oldest := p.slice*f.segment, uint32(0)
	if p.pass > 0 {
		size, oldest = (slices-1)*f.segment, (p.slice+1)%slices*f.segment
	}
	// and in the own lane those of this segment, but not the block just before;
	// nor, at the start of a segment, the last of another lane.
	if lane == p.lane {
		size += i - 1
	} else if i == 0 {
		size--
	}
	x := random & 0xffffffff
	x = x * x >> 32
	x = uint64(size) * x >> 32
	column := oldest + size - 1 - uint32(x)
	if column >= f.laneSize {
		column -= f.laneSize
	}
	return lane*f.laneSize + column
}
