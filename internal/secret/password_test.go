package secret_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/secret"
)

// cheapest is the least that Argon2id allows.
var cheapest = secret.Argon2{Memory: 8, Passes: 1, Threads: 1}

// pool is one that hashes in this process.
func pool(t testing.TB, cost secret.Argon2, workers, queue int) *secret.Hasher {
	t.Helper()
	h := secret.NewHasher(secret.HasherOptions{Cost: cost, Workers: workers, Queue: queue})
	t.Cleanup(h.Close)
	return h
}

func hash(t testing.TB, h *secret.Hasher, password string) string {
	t.Helper()
	phc, err := h.Hash(t.Context(), secret.Who{}, secret.NewText(password))
	if err != nil {
		t.Fatal(err)
	}
	return phc
}

func verify(t testing.TB, h *secret.Hasher, password, phc string) (ok, rehash bool) {
	t.Helper()
	ok, rehash, err := h.Verify(t.Context(), secret.Who{}, secret.NewText(password), phc)
	if err != nil {
		t.Fatalf("verify against %s: %v", phc, err)
	}
	return ok, rehash
}

func alphabet(n int) string { return strings.Repeat("abcdefghijklmnopqrstuvwxyz", n/26+1)[:n] }

// Written by the reference implementation: the command argon2 and the library
// libargon2 of Debian 12's package argon2 0~20171227, such as
//
//	printf 'correct horse battery staple' | argon2 saltsaltsaltsalt -id -t 2 -k 64 -p 1 -l 32 -e
var reference = map[string]string{
	"correct horse battery staple": "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$08SGGcDJOWTOHrI9opI1oxYYPVyI3Xbz6vQjWzSpV7w",
	"пароль":                       "$argon2id$v=19$m=256,t=3,p=4$0LTRgNGD0LPQsNGPINGB0L7Qu9GM$sQd50zcEgqYU+R0rPgEVM6/CvhhY46eNCXE8r+EGA/A",
	"x":                            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$z0/5gcun0AHacQNl75gROw",
	"":                             "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$YdvKnHDNdnx3UXOE4OXsgVckBvuq3gpvrMbEV3UYnbY",
	"before\x00after":              "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$U9yLUvB49UGMd/CKp7lSsgjyKaqQwO/OC6DohBshfNs",
	alphabet(72):                   "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$5yXtshrK82VafLNTYgiLPeuMBH5PPKbJq7jC44vQthc",
	alphabet(73):                   "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qmuHv3l4g0QSlB9sgHyg+lAW0yU/URu4ThYFfEbf2wk",
	alphabet(128):                  "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$zwXNHIpuimveLiF6K67URNUwKtxwriYpzXqurpEVUi0",
	alphabet(255):                  "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$CSVTIDqVMWwaVjzvacHL1WRLc75ebpI2T35bTwv/2hM",
	alphabet(256):                  "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$GScMBW3qOo7JF6V6LGM1FCGHL+qqtCZ7fRYb6X9SU/0",
	alphabet(1000):                 "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$bL84BZCzPxzpU2yS2UMcEyuxP1caFbmIl/nujvclFDA",
}

func TestHashesOfTheReferenceImplementationVerify(t *testing.T) {
	h := pool(t, cheapest, 1, 0)
	for password, phc := range reference {
		if ok, rehash := verify(t, h, password, phc); !ok || !rehash {
			t.Errorf("%.30q of %d bytes: ok %t, rehash %t", password, len(password), ok, rehash)
		}
		for other := range reference {
			if ok, rehash := verify(t, h, other, phc); ok != (other == password) || rehash && !ok {
				t.Errorf("%.30q against the hash of %.30q: ok %t, rehash %t", other, password, ok, rehash)
			}
		}
	}
}

func TestHashIsAPHCStringWithASaltOfItsOwn(t *testing.T) {
	form := regexp.MustCompile(`^\$argon2id\$v=19\$m=16,t=2,p=1\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})$`)
	h := pool(t, secret.Argon2{Memory: 16, Passes: 2, Threads: 1}, 1, 0)
	salts, keys := map[string]bool{}, map[string]bool{}
	for range 100 {
		phc := hash(t, h, plain)
		m := form.FindStringSubmatch(phc)
		if m == nil {
			t.Fatalf("%q is not in the form", phc)
		}
		salts[m[1]], keys[m[2]] = true, true
		if ok, rehash := verify(t, h, plain, phc); !ok || rehash {
			t.Errorf("%s: ok %t, rehash %t", phc, ok, rehash)
		}
	}
	if len(salts) != 100 || len(keys) != 100 {
		t.Errorf("100 hashes of one password have %d salts and %d keys", len(salts), len(keys))
	}
}

// bcrypt would stop at 72 bytes, others at 128 or 255, or at a NUL.
func TestEveryByteOfAPasswordCounts(t *testing.T) {
	h := pool(t, cheapest, 1, 0)
	for _, n := range []int{1, 8, 71, 72, 73, 127, 128, 129, 254, 255, 256, 257, 1024} {
		password := alphabet(n)
		phc := hash(t, h, password)
		for name, other := range map[string]string{
			"another last byte": password[:n-1] + "\xff", "one byte less": password[:n-1], "one byte more": password + "a",
			"a NUL more": password + "\x00", "a space more": password + " ", "upper case": strings.ToUpper(password),
		} {
			if ok, rehash := verify(t, h, other, phc); ok || rehash {
				t.Errorf("%d bytes: %s: ok %t, rehash %t", n, name, ok, rehash)
			}
		}
		if ok, _ := verify(t, h, password, phc); !ok {
			t.Errorf("%d bytes do not verify", n)
		}
	}
}

func TestHashOfAnotherCostIsToBeMadeAnew(t *testing.T) {
	now := secret.Argon2{Memory: 32, Passes: 2, Threads: 2}
	for _, then := range []secret.Argon2{
		{Memory: 16, Passes: 2, Threads: 2}, {Memory: 64, Passes: 2, Threads: 2}, {Memory: 32, Passes: 1, Threads: 2},
		{Memory: 32, Passes: 3, Threads: 2}, {Memory: 32, Passes: 2, Threads: 1}, {Memory: 32, Passes: 2, Threads: 4}, now,
	} {
		phc := hash(t, pool(t, then, 1, 0), plain)
		h := pool(t, now, 1, 0)
		if ok, rehash := verify(t, h, plain, phc); !ok || rehash != (then != now) {
			t.Errorf("of %+v: ok %t, rehash %t", then, ok, rehash)
		}
		if ok, rehash := verify(t, h, "another", phc); ok || rehash {
			t.Errorf("of %+v, another password: ok %t, rehash %t", then, ok, rehash)
		}
		if h.Cost() != now {
			t.Errorf("the cost is %+v", h.Cost())
		}
	}
}

func TestNoHashIsNeverTrueAndCostsTheSame(t *testing.T) {
	cost := secret.Argon2{Memory: 16 << 10, Passes: 2, Threads: 1}
	h := pool(t, cost, 1, 0)
	phc := hash(t, h, plain)
	fastest := map[string]time.Duration{phc: time.Hour, "": time.Hour}
	for range 20 { // what else the machine does can only add
		for phc, best := range fastest {
			_, before := h.Stats()
			start := time.Now()
			ok, rehash := verify(t, h, "another", phc)
			fastest[phc] = min(best, time.Since(start))
			if _, after := h.Stats(); ok || rehash || after != before+1 {
				t.Errorf("against %q: ok %t, rehash %t, %d hashes", phc, ok, rehash, after-before)
			}
		}
	}
	if with, without := fastest[phc], fastest[""]; without < with/3 || with < without/3 {
		t.Errorf("it takes %s with a hash and %s without", with, without)
	}
	for _, password := range []string{"", plain, "\x00"} {
		if ok, _ := verify(t, h, password, ""); ok {
			t.Errorf("no hash verified %q", password)
		}
	}
}

func TestTamperedHashIsRefusedAndNotTried(t *testing.T) {
	const salt, key = "c2FsdHNhbHRzYWx0c2FsdA", "08SGGcDJOWTOHrI9opI1oxYYPVyI3Xbz6vQjWzSpV7w"
	b64 := base64.RawStdEncoding.EncodeToString
	h := pool(t, cheapest, 1, 0)
	for name, phc := range map[string]string{
		"no PHC":             "hunter2",
		"nothing but dollar": "$$$$$",
		"bcrypt":             "$2b$12$abcdefghijklmnopqrstuuB1ZzZzZzZzZzZzZzZzZzZzZzZzZzZzZ",
		"argon2i":            "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$enZUByzd3tBk1mEyio3ocg",
		"argon2d":            "$argon2d$v=19$m=8,t=1,p=1$c29tZXNhbHQ$zTjZLshyqVF8hiCEXaWyWw",
		"version 16":         "$argon2id$v=16$m=8,t=1,p=1$c29tZXNhbHQ$eRLetV/hRVvgNkFS3ZIfuA",
		"no version":         "$argon2id$m=64,t=2,p=1$" + salt + "$" + key,
		"other order":        "$argon2id$v=19$t=2,m=64,p=1$" + salt + "$" + key,
		"no memory":          "$argon2id$v=19$m=0,t=2,p=1$" + salt + "$" + key,
		"too little memory":  "$argon2id$v=19$m=7,t=2,p=1$" + salt + "$" + key,
		"for its lanes":      "$argon2id$v=19$m=64,t=2,p=9$" + salt + "$" + key,
		"4 GiB and more":     "$argon2id$v=19$m=4194305,t=2,p=1$" + salt + "$" + key,
		"4 TiB":              "$argon2id$v=19$m=4294967295,t=2,p=1$" + salt + "$" + key,
		"beyond 32 bits":     "$argon2id$v=19$m=4294967360,t=2,p=1$" + salt + "$" + key,
		"no pass":            "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + key,
		"many passes":        "$argon2id$v=19$m=64,t=65,p=1$" + salt + "$" + key,
		"4 billion passes":   "$argon2id$v=19$m=64,t=4294967295,p=1$" + salt + "$" + key,
		"no lane":            "$argon2id$v=19$m=64,t=2,p=0$" + salt + "$" + key,
		"256 lanes":          "$argon2id$v=19$m=4096,t=2,p=256$" + salt + "$" + key,
		"negative":           "$argon2id$v=19$m=-64,t=2,p=1$" + salt + "$" + key,
		"signed":             "$argon2id$v=19$m=+64,t=2,p=1$" + salt + "$" + key,
		"leading zero":       "$argon2id$v=19$m=064,t=2,p=1$" + salt + "$" + key,
		"hexadecimal":        "$argon2id$v=19$m=0x40,t=2,p=1$" + salt + "$" + key,
		"underscore":         "$argon2id$v=19$m=6_4,t=2,p=1$" + salt + "$" + key,
		"spaces":             "$argon2id$v=19$m= 64,t=2,p=1$" + salt + "$" + key,
		"a key more":         "$argon2id$v=19$m=64,t=2,p=1,data=eA$" + salt + "$" + key,
		"no salt":            "$argon2id$v=19$m=64,t=2,p=1$$" + key,
		"short salt":         "$argon2id$v=19$m=64,t=2,p=1$" + b64(make([]byte, 7)) + "$" + key,
		"long salt":          "$argon2id$v=19$m=64,t=2,p=1$" + b64(make([]byte, 65)) + "$" + key,
		"no key":             "$argon2id$v=19$m=64,t=2,p=1$" + salt + "$",
		"no part for it":     "$argon2id$v=19$m=64,t=2,p=1$" + salt,
		"short key":          "$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + b64(make([]byte, 15)),
		"long key":           "$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + b64(make([]byte, 65)),
		"padded":             "$argon2id$v=19$m=64,t=2,p=1$" + salt + "==$" + key + "=",
		"URL alphabet":       "$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + strings.Repeat("-_", 20),
		"bits beyond":        "$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + key[:42] + "x",
		"newline inside":     "$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + key[:20] + "\n" + key[20:],
		"a part more":        "$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + salt + "$" + key,
		"something before":   " $argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + key,
		"something behind":   "$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + key + " ",
		"very much":          "$argon2id$v=19$m=64,t=2,p=1$" + strings.Repeat("A", 1<<20) + "$" + key,
	} {
		_, before := h.Stats()
		ok, rehash, err := h.Verify(t.Context(), secret.Who{}, secret.NewText("correct horse battery staple"), phc)
		if _, after := h.Stats(); ok || rehash || err == nil || errors.Is(err, secret.ErrBusy) || after != before {
			t.Errorf("%s: ok %t, rehash %t, %v, %d hashes", name, ok, rehash, err, after-before)
		}
		if err != nil && (strings.Contains(err.Error(), key[:10]) || strings.Contains(err.Error(), "correct")) {
			t.Errorf("%s: the error tells: %v", name, err)
		}
	}
	whole := "$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + key
	for i := range whole {
		ok, _, _ := h.Verify(t.Context(), secret.Who{}, secret.NewText("correct horse battery staple"), whole[:i])
		if ok && i > 0 {
			t.Errorf("the first %d characters verify", i)
		}
	}
}

// slow is a stored hash that takes about half a second to check.
func slow() string {
	return "$argon2id$v=19$m=65536,t=20,p=1$c2FsdHNhbHRzYWx0c2FsdA$08SGGcDJOWTOHrI9opI1oxYYPVyI3Xbz6vQjWzSpV7w"
}

// busy keeps so many workers of h at work, and gives a function that waits for
// them.
func busy(t *testing.T, h *secret.Hasher, workers int) (wait func()) {
	t.Helper()
	_, before := h.Stats()
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			if _, _, err := h.Verify(context.WithoutCancel(t.Context()), secret.Who{}, secret.NewText(plain), slow()); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "the workers are at work", func() bool {
		_, hashed := h.Stats()
		return hashed == before+int64(workers)
	})
	return all.Wait
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// atWork counts the goroutines inside Argon2.
func atWork() int {
	buf := make([]byte, 1<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "secret/argon2.IDKey(")
}

func TestNoMorePasswordsAreHashedAtOnceThanThereAreWorkers(t *testing.T) {
	const workers, callers = 2, 8
	h := pool(t, secret.Argon2{Memory: 32 << 10, Passes: 6, Threads: 1}, workers, callers)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				if _, err := h.Hash(t.Context(), secret.Who{}, secret.NewText(plain)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}()
	most := 0
	for working := true; working; {
		select {
		case <-done:
			working = false
		case <-time.After(time.Millisecond):
			most = max(most, atWork())
		}
	}
	if most != workers {
		t.Errorf("at most %d were at work, want %d", most, workers)
	}
	if waiting, hashed := h.Stats(); waiting != 0 || hashed != callers {
		t.Errorf("in the end %d wait and %d are hashed", waiting, hashed)
	}
}

func TestWhoFindsTheQueueFullIsRefusedAtOnce(t *testing.T) {
	h := pool(t, cheapest, 1, 2)
	wait := busy(t, h, 1)
	var queued sync.WaitGroup
	for range 2 {
		queued.Go(func() {
			if _, err := h.Hash(t.Context(), secret.Who{}, secret.NewText(plain)); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "two wait", func() bool {
		waiting, _ := h.Stats()
		return waiting == 2
	})
	for range 10 {
		if _, err := h.Hash(t.Context(), secret.Who{}, secret.NewText(plain)); !errors.Is(err, secret.ErrBusy) {
			t.Errorf("Hash with a full queue: %v", err)
		}
		if ok, _, err := h.Verify(t.Context(), secret.Who{}, secret.NewText(plain), ""); ok || !errors.Is(err, secret.ErrBusy) {
			t.Errorf("Verify with a full queue: %t, %v", ok, err)
		}
	}
	if waiting, hashed := h.Stats(); waiting != 2 || hashed != 1 { // still: so nobody has waited for anything
		t.Errorf("after 20 refusals %d wait and %d are hashed, want 2 and 1", waiting, hashed)
	}
	wait()
	queued.Wait()
	if ok, _ := verify(t, h, plain, hash(t, h, plain)); !ok { // there is room again
		t.Error("it does not verify")
	}
	if waiting, hashed := h.Stats(); waiting != 0 || hashed != 5 {
		t.Errorf("in the end %d wait and %d are hashed", waiting, hashed)
	}
}

func TestWhoseTimeRunsOutInTheQueueIsTold(t *testing.T) {
	h := pool(t, cheapest, 1, 10)
	wait := busy(t, h, 1)
	late, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	gone, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	for _, c := range []struct {
		name string
		ctx  context.Context
		want error
	}{{"late", late, secret.ErrBusy}, {"gone", gone, context.Canceled}} {
		if _, err := h.Hash(c.ctx, secret.Who{}, secret.NewText(plain)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, hashed := h.Stats(); hashed != 1 {
		t.Errorf("%d were hashed: it waited for the worker", hashed)
	}
	wait()
	// Whose time is over takes no work from others, even where a worker is free.
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{late, secret.ErrBusy}, {gone, context.Canceled}} {
		if _, _, err := h.Verify(c.ctx, secret.Who{}, secret.NewText(plain), ""); !errors.Is(err, c.want) {
			t.Errorf("too late: %v", err)
		}
	}
	if waiting, hashed := h.Stats(); waiting != 0 || hashed != 1 {
		t.Errorf("in the end %d wait and %d are hashed", waiting, hashed)
	}
}

// Through Verify, for a caller who has gone: what is readable is then not
// hashed, whatever it would cost.
func FuzzDecode(f *testing.F) {
	for _, phc := range reference {
		f.Add(phc)
	}
	f.Add("")
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$c2FsdHNhbHRzYWx0c2FsdA$08SGGcDJOWTOHrI9opI1oxYYPVyI3Xbz6vQjWzSpV7w")
	form := regexp.MustCompile(`^\$argon2id\$v=19\$m=([1-9]\d{0,6}),t=([1-9]\d?),p=([1-9]\d{0,2})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$`)
	h := pool(f, cheapest, 1, 0)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, phc string) {
		ok, rehash, err := h.Verify(gone, secret.Who{}, secret.NewText(plain), phc)
		if ok || rehash || err == nil {
			t.Fatalf("%q: ok %t, rehash %t, %v", phc, ok, rehash, err)
		}
		if phc == "" || !errors.Is(err, context.Canceled) {
			return
		}
		var m, passes, lanes int
		if part := form.FindStringSubmatch(phc); part == nil {
			t.Fatalf("%q was read", phc)
		} else if _, err := fmt.Sscan(strings.Join(part[1:], " "), &m, &passes, &lanes); err != nil {
			t.Fatal(err)
		}
		if m > 4<<20 || passes > 64 || lanes > 255 || m < 8*lanes {
			t.Fatalf("%q was read", phc)
		}
		if m*passes > 1<<10 {
			return
		}
		if ok, rehash := verify(t, h, "another", phc); ok || rehash { // and does not panic
			t.Errorf("%q: ok %t, rehash %t", phc, ok, rehash)
		}
	})
}
