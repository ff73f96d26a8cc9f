package argon2_test

import (
	"bufio"
	"bytes"
	"crypto/sha3"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	xargon2 "golang.org/x/crypto/argon2"

	"propusk/internal/secret/argon2"
)

// eachPath runs a test with every block function that the processor has, and
// with IDKey's own choice, which may be x/crypto.
func eachPath(t *testing.T, test func(t *testing.T, derive func(*argon2.Memory, argon2.Input) []byte)) {
	t.Helper()
	t.Run("chosen", func(t *testing.T) { test(t, idKey) })
	for name, compress := range argon2.Compressors() {
		t.Run(name, func(t *testing.T) {
			test(t, func(m *argon2.Memory, in argon2.Input) []byte { return argon2.Derive(m, compress, in) })
		})
	}
}

func idKey(m *argon2.Memory, in argon2.Input) []byte {
	return argon2.IDKey(m, in.Password, in.Salt, in.Passes, in.Memory, in.Lanes, in.KeySize)
}

func xKey(in argon2.Input) []byte {
	return xargon2.IDKey(in.Password, in.Salt, in.Passes, in.Memory, in.Lanes, in.KeySize)
}

// RFC 9106, section 5.3.
func TestVectorOfTheRFC(t *testing.T) {
	const want = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
	in := argon2.Input{
		Password: bytes.Repeat([]byte{1}, 32), Salt: bytes.Repeat([]byte{2}, 16),
		Secret: bytes.Repeat([]byte{3}, 8), Data: bytes.Repeat([]byte{4}, 12),
		Passes: 3, Memory: 32, Lanes: 4, KeySize: 32,
	}
	for name, compress := range argon2.Compressors() {
		m := new(argon2.Memory)
		defer m.Release()
		if got := hex.EncodeToString(argon2.Derive(m, compress, in)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// testdata/reference.sh made the vectors.
func TestSameAsTheReferenceProgram(t *testing.T) {
	eachPath(t, func(t *testing.T, derive func(*argon2.Memory, argon2.Input) []byte) {
		file, err := os.Open("testdata/reference.txt")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		m := new(argon2.Memory)
		defer m.Release()
		vectors := 0
		for lines := bufio.NewScanner(file); lines.Scan(); vectors++ {
			var in argon2.Input
			var salt string
			var want []byte
			_, err := fmt.Sscanf(lines.Text(), "%d %d %d %d %s %x %x",
				&in.Passes, &in.Memory, &in.Lanes, &in.KeySize, &salt, &in.Password, &want)
			if err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			in.Salt = []byte(salt)
			if got := derive(m, in); !bytes.Equal(got, want) {
				t.Errorf("m=%d t=%d p=%d size %d: %x, want %x", in.Memory, in.Passes, in.Lanes, in.KeySize, got, want)
			}
		}
		if vectors != 140 {
			t.Errorf("%d vectors, want 140", vectors)
		}
	})
}

// The same parameters each time, so that what fails fails again; the fuzz
// target looks for others. One memory is used for all.
func TestSameAsXCrypto(t *testing.T) {
	count := 400
	if testing.Short() {
		count = 40
	}
	eachPath(t, func(t *testing.T, derive func(*argon2.Memory, argon2.Input) []byte) {
		stream := sha3.NewSHAKE128()
		_, _ = stream.Write([]byte("propusk"))
		number := func(n uint32) uint32 {
			var b [4]byte
			_, _ = stream.Read(b[:])
			return binary.LittleEndian.Uint32(b[:]) % n
		}
		text := func(n uint32) []byte {
			b := make([]byte, number(n))
			_, _ = stream.Read(b)
			return b
		}
		m := new(argon2.Memory)
		defer m.Release()
		for range count {
			in := argon2.Input{
				Password: text(200), Salt: text(70),
				Passes: 1 + number(5), Memory: number(2049), KeySize: 1 + number(200),
				Lanes: []uint8{1, 1, 2, 3, 4, 5}[number(6)],
			}
			if number(10) == 0 {
				in.Password = nil
			}
			if got, want := derive(m, in), xKey(in); !bytes.Equal(got, want) {
				t.Fatalf("%+v: %x, want %x", in, got, want)
			}
		}
	})
}

func TestWhatTheMemoryHeldMakesNoDifference(t *testing.T) {
	small := argon2.Input{Password: []byte("password"), Salt: []byte("saltsalt"), Passes: 2, Memory: 64, Lanes: 1, KeySize: 32}
	large := small
	large.Memory, large.Lanes = 4096, 3
	eachPath(t, func(t *testing.T, derive func(*argon2.Memory, argon2.Input) []byte) {
		m := new(argon2.Memory)
		defer m.Release()
		for _, before := range []struct {
			name string
			do   func()
		}{
			{"new", func() {}},
			{"reused", func() {}},
			{"ones", m.Soil},
			{"wiped", m.Wipe},
			{"released", m.Release},
			{"released and wiped", func() { m.Release(); m.Wipe() }},
		} {
			for _, in := range []argon2.Input{small, large, small} {
				before.do()
				if got, want := derive(m, in), xKey(in); !bytes.Equal(got, want) {
					t.Errorf("%s, m=%d: %x, want %x", before.name, in.Memory, got, want)
				}
			}
		}
	})
}

func TestWipeLeavesNothing(t *testing.T) {
	small := argon2.Input{Password: []byte("password"), Salt: []byte("saltsalt"), Passes: 1, Memory: 64, Lanes: 1, KeySize: 32}
	large := small
	large.Memory = 4096
	for name, compress := range argon2.Compressors() {
		m := new(argon2.Memory)
		defer m.Release()
		argon2.Derive(m, compress, large)
		argon2.Derive(m, compress, small)
		if dirty, size := m.Dirt(); dirty < 9*size/10 {
			t.Errorf("%s: %d of %d bytes are not zero after a hash: this test sees nothing", name, dirty, size)
		}
		m.Wipe()
		if dirty, size := m.Dirt(); dirty != 0 || size < 4<<20 {
			t.Errorf("%s: %d of %d bytes are not zero after Wipe", name, dirty, size)
		}
		m.Release()
		if _, size := m.Dirt(); size != 0 {
			t.Errorf("%s: %d bytes after Release", name, size)
		}
	}
}

// The collector stops goroutines and moves stacks all the while.
func TestSameInManyGoroutinesWhileTheCollectorRuns(t *testing.T) {
	in := argon2.Input{Password: []byte("password"), Salt: []byte("saltsalt"), Passes: 2, Memory: 1024, Lanes: 1, KeySize: 32}
	want := xKey(in)
	eachPath(t, func(t *testing.T, derive func(*argon2.Memory, argon2.Input) []byte) {
		var hashers sync.WaitGroup
		for range 4 {
			hashers.Go(func() {
				m := new(argon2.Memory)
				defer m.Release()
				for range 100 {
					if got := derive(m, in); !bytes.Equal(got, want) {
						t.Errorf("%x, want %x", got, want)
						return
					}
				}
			})
		}
		done := make(chan struct{})
		var collector sync.WaitGroup
		collector.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					runtime.GC()
				}
			}
		})
		hashers.Wait()
		close(done)
		collector.Wait()
	})
}

func TestTwoHashesCannotShareMemory(t *testing.T) {
	if argon2.Fastest() == nil {
		t.Skip("x/crypto takes no memory from us")
	}
	m := new(argon2.Memory)
	defer m.Release()
	panics := make(chan any)
	for range 2 {
		go func() {
			defer func() { panics <- recover() }()
			for range 10000 {
				argon2.IDKey(m, []byte("password"), []byte("saltsalt"), 1, 64, 1, 32)
			}
		}()
	}
	if first, second := <-panics, <-panics; first == nil && second == nil {
		t.Error("both ran through")
	}
}

func TestImpossibleParametersPanic(t *testing.T) {
	for _, in := range []argon2.Input{
		{Passes: 0, Memory: 64, Lanes: 1, KeySize: 32},
		{Passes: 1, Memory: 64, Lanes: 0, KeySize: 32},
		{Passes: 1, Memory: 64, Lanes: 1, KeySize: 0},
	} {
		eachPath(t, func(t *testing.T, derive func(*argon2.Memory, argon2.Input) []byte) {
			m := new(argon2.Memory)
			defer m.Release()
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: no panic", in)
				}
				// A worker that recovers goes on with its memory.
				in := argon2.Input{Passes: 1, Memory: 64, Lanes: 1, KeySize: 32}
				if got, want := derive(m, in), xKey(in); !bytes.Equal(got, want) {
					t.Errorf("after a panic: %x, want %x", got, want)
				}
			}()
			derive(m, in)
		})
	}
}

func FuzzSameAsXCrypto(f *testing.F) {
	f.Add([]byte("password"), []byte("saltsalt"), uint8(2), uint16(64), uint8(1), uint8(32))
	f.Add([]byte{}, []byte{}, uint8(0), uint16(0), uint8(0), uint8(0))
	f.Add([]byte("x"), []byte("y"), uint8(3), uint16(1027), uint8(4), uint8(129))
	compressors := argon2.Compressors()
	m := new(argon2.Memory)
	f.Fuzz(func(t *testing.T, password, salt []byte, passes uint8, memory uint16, lanes, size uint8) {
		in := argon2.Input{
			Password: password, Salt: salt, Passes: 1 + uint32(passes%5), Memory: uint32(memory % 4096),
			Lanes: 1 + lanes%8, KeySize: 1 + uint32(size),
		}
		want := xKey(in)
		if got := idKey(m, in); !bytes.Equal(got, want) {
			t.Errorf("%+v: %x, want %x", in, got, want)
		}
		for name, compress := range compressors {
			if got := argon2.Derive(m, compress, in); !bytes.Equal(got, want) {
				t.Errorf("%s: %+v: %x, want %x", name, in, got, want)
			}
		}
	})
}

// With the parameters that the service has by default.
func BenchmarkIDKey(b *testing.B) {
	in := argon2.Input{Password: []byte("password"), Salt: []byte("saltsalt"), Passes: 2, Memory: 19456, Lanes: 1, KeySize: 32}
	b.Run("x-crypto", func(b *testing.B) {
		for b.Loop() {
			xKey(in)
		}
	})
	for name, compress := range argon2.Compressors() {
		b.Run(name, func(b *testing.B) {
			m := new(argon2.Memory)
			defer m.Release()
			for b.Loop() {
				argon2.Derive(m, compress, in)
			}
		})
	}
	b.Run("wipe", func(b *testing.B) {
		m := new(argon2.Memory)
		defer m.Release()
		for b.Loop() {
			idKey(m, in)
			m.Wipe()
		}
	})
}
