package argon2

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// allocate maps n blocks, beside Go's heap: there 19 MiB for each worker would
// make the collector let garbage grow by as much again before it runs. Huge
// pages save the processor most of its address translations, worth a tenth of a
// hash's time. A core dump leaves the blocks out.
func allocate(n int) (blocks []block, unmap func()) {
	// The kernel gives a huge page only for a whole, aligned one.
	size := (n*blockSize + hugePage - 1) / hugePage * hugePage
	mapped, err := unix.Mmap(-1, 0, size+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]block, n), nil
	}
	// Both may be refused, by a kernel built without; the result is the same.
	_ = unix.Madvise(mapped, unix.MADV_HUGEPAGE)
	_ = unix.Madvise(mapped, unix.MADV_DONTDUMP)
	address := uintptr(unsafe.Pointer(&mapped[0]))                  //nolint:gosec // only computed with
	aligned := mapped[-address%hugePage:][:size]                    // cannot be outside
	blocks = unsafe.Slice((*block)(unsafe.Pointer(&aligned[0])), n) //nolint:gosec // n blocks fit in size
	return blocks, func() { _ = unix.Munmap(mapped) }
}
