package argon2_test

import (
	"fmt"
	"os"
	"testing"

	"propusk/internal/secret/argon2"
)

func TestReleaseGivesTheMemoryBack(t *testing.T) {
	if argon2.Fastest() == nil {
		t.Skip("x/crypto takes no memory from us")
	}
	pages := func() (n int) {
		text, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(text), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	m := new(argon2.Memory)
	before := pages()
	for range 20 {
		argon2.IDKey(m, []byte("password"), []byte("saltsalt"), 1, 32<<10, 1, 32)
		m.Release()
	}
	if grown := (pages() - before) * os.Getpagesize() >> 20; grown > 200 {
		t.Errorf("%d MiB more after 20 times 32 MiB", grown)
	}
}
