package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"propusk/internal/secret"
)

// fingerprint tells two keys apart.
func fingerprint(k *secret.Keys) string { return string(k.MAC("test", []byte("fingerprint"))) }

func createKeys(t *testing.T, path string) *secret.Keys {
	t.Helper()
	k, err := secret.CreateKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keyFile(t *testing.T, content string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
	return path
}

var someKey = []byte("0123456789abcdef0123456789abcdef")

func TestNewMasterKeyIsItsOwnersOnlyAndIsReadAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	path := filepath.Join(dir, "master.key")
	made := createKeys(t, path)
	for name, want := range map[string]fs.FileMode{path: 0o600, dir: 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %04o", name, info.Mode(), err, want)
		}
	}
	read, err := secret.ReadKeys(path)
	if err != nil || fingerprint(read) != fingerprint(made) {
		t.Errorf("another key was read than was made: %v", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("beside the key there is %v, %v", names, err)
	}
}

func TestMasterKeyIsNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	first := createKeys(t, path)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if again := createKeys(t, path); fingerprint(again) != fingerprint(first) {
		t.Error("the second has another key")
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed: %v", err)
	}
	for _, content := range []string{"", "an old love letter"} {
		path := keyFile(t, content, 0o600)
		if _, err := secret.CreateKeys(path); err == nil {
			t.Errorf("%q was taken for a key", content)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != content {
			t.Errorf("%q became %q, %v", content, after, err)
		}
	}
	dangling := filepath.Join(t.TempDir(), "dangling")
	if err := os.Symlink(filepath.Join(t.TempDir(), "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.CreateKeys(dangling); err == nil {
		t.Error("a key was written to where a dangling link leads")
	}
}

func TestStartsAtOnceShareOneMasterKey(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "master.key")
		var mu sync.Mutex
		keys := map[string]bool{}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				k, err := secret.CreateKeys(path)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				keys[fingerprint(k)] = true
			})
		}
		all.Wait()
		if len(keys) != 1 {
			t.Fatalf("16 starts have %d keys", len(keys))
		}
		if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
			t.Errorf("beside the key there is %v, %v", names, err)
		}
	}
}

func TestInstallationsHaveDifferentKeys(t *testing.T) {
	keys := map[string]bool{}
	for range 10 {
		keys[fingerprint(createKeys(t, filepath.Join(t.TempDir(), "master.key")))] = true
		keys[fingerprint(secret.NewKeys())] = true
	}
	if len(keys) != 20 {
		t.Errorf("20 installations have %d keys", len(keys))
	}
}

func TestMasterKeyThatOthersCanReachIsRefused(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(someKey)
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o660, 0o606, 0o666, 0o620, 0o602, 0o610, 0o601, 0o777, 0o440, 0o404} {
		path := keyFile(t, good, mode)
		if _, err := secret.ReadKeys(path); err == nil || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if _, err := secret.CreateKeys(path); err == nil {
			t.Errorf("mode %04o was taken by a start", mode)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		if _, err := secret.ReadKeys(keyFile(t, good, mode)); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestMasterKeyIs32BytesInBase64(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	good := b64(someKey)
	want := ""
	for _, content := range []string{good, good + "\n", good + "\r\n", "\n " + good + "\t\n"} {
		k, err := secret.ReadKeys(keyFile(t, content, 0o600))
		if err != nil {
			t.Errorf("%q: %v", content, err)
			continue
		}
		if want == "" {
			want = fingerprint(k)
		}
		if fingerprint(k) != want {
			t.Errorf("%q is another key", content)
		}
	}
	for name, content := range map[string]string{
		"nothing": "", "31 bytes": b64(someKey[:31]), "33 bytes": b64(append(someKey[:32:32], 'x')), "16 bytes": b64(someKey[:16]),
		"64 bytes": b64(append(someKey[:32:32], someKey...)), "raw bytes": string(someKey), "hexadecimal": hex.EncodeToString(someKey),
		"no padding": strings.TrimRight(good, "="), "two": good + "\n" + good, "a space inside": good[:10] + " " + good[10:],
		"URL alphabet": base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32)),
		"bits beyond":  good[:42] + "n=", "a comment": good + " # key", "very much": strings.Repeat("A", 1<<20),
	} {
		_, err := secret.ReadKeys(keyFile(t, content, 0o600))
		if err == nil {
			t.Errorf("%s was taken", name)
		} else if content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("%s is told in the error: %v", name, err)
		}
	}
	if _, err := secret.ReadKeys(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs the x
		t.Fatal(err)
	}
	if _, err := secret.ReadKeys(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder: %v", err)
	}
}

// What one version has fingerprinted and sealed, every later one must know.
func TestDerivedKeysAreWhatTheyHaveAlwaysBeen(t *testing.T) {
	k, err := secret.ReadKeys(keyFile(t, base64.StdEncoding.EncodeToString(someKey), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	// HMAC-SHA256 under HKDF-SHA256(someKey, no salt, "propusk mac test", 32), by Python.
	const mac = "955f572a5c3f7893388c35846d357cf7e1a32a9dcd8703658a9ddaad609117b1"
	if got := hex.EncodeToString(k.MAC("test", []byte("data"))); got != mac {
		t.Errorf("MAC is %s", got)
	}
	// 12 bytes of nonce, then AES-256-GCM under HKDF's "propusk seal test" over "plain" with "bound".
	sealed, err := hex.DecodeString("6e6f6e6365206f662031322e054d1fac31f522119bdcd505d1a5d488ed8cbe99ad")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open("test", "bound", sealed); err != nil || string(got) != "plain" {
		t.Errorf("opened as %q, %v", got, err)
	}
}

func TestFingerprintDependsOnKeyPurposeAndData(t *testing.T) {
	a, b := secret.NewKeys(), secret.NewKeys()
	macs := map[string]bool{}
	for _, m := range [][]byte{
		a.MAC("p", []byte("d")), b.MAC("p", []byte("d")), a.MAC("q", []byte("d")), a.MAC("p", []byte("e")), a.MAC("p", nil),
		a.MAC("pd", nil), a.MAC("", []byte("pd")), a.MAC("p ", []byte("d")),
	} {
		if len(m) != 32 {
			t.Errorf("%d bytes", len(m))
		}
		macs[string(m)] = true
	}
	if len(macs) != 8 {
		t.Errorf("8 different things have %d fingerprints", len(macs))
	}
	if !bytes.Equal(a.MAC("p", []byte("d")), a.MAC("p", []byte("d"))) {
		t.Error("one thing has two fingerprints")
	}
}

func TestSealedDataOpensOnlyAsWhatItIs(t *testing.T) {
	k, other := secret.NewKeys(), secret.NewKeys()
	for _, data := range [][]byte{{}, []byte("x"), []byte(plain), bytes.Repeat([]byte(plain), 10_000)} {
		sealed := k.Seal("mail", "row 1", data)
		if got, err := k.Open("mail", "row 1", sealed); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back as %d, %v", len(data), len(got), err)
		}
		if bytes.Equal(sealed, k.Seal("mail", "row 1", data)) {
			t.Error("sealed twice, it is the same")
		}
		for name, open := range map[string]func() ([]byte, error){
			"another purpose": func() ([]byte, error) { return k.Open("hook", "row 1", sealed) },
			"another row":     func() ([]byte, error) { return k.Open("mail", "row 2", sealed) },
			"no row":          func() ([]byte, error) { return k.Open("mail", "", sealed) },
			"moved boundary":  func() ([]byte, error) { return k.Open("mail row", " 1", sealed) },
			"another key":     func() ([]byte, error) { return other.Open("mail", "row 1", sealed) },
			"more behind":     func() ([]byte, error) { return k.Open("mail", "row 1", append(sealed[:len(sealed):len(sealed)], 0)) },
			"nothing":         func() ([]byte, error) { return k.Open("mail", "row 1", nil) },
		} {
			if got, err := open(); err == nil || got != nil {
				t.Errorf("%s: opened as %d bytes", name, len(got))
			}
		}
	}
}

func TestSealedDataWithAnyBitChangedOrMissingDoesNotOpen(t *testing.T) {
	k := secret.NewKeys()
	sealed := k.Seal("mail", "row", []byte(plain))
	for i := range sealed {
		for bit := range 8 {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1 << bit
			if _, err := k.Open("mail", "row", changed); err == nil {
				t.Errorf("with bit %d of byte %d changed it opened", bit, i)
			}
		}
		if _, err := k.Open("mail", "row", sealed[:i]); err == nil {
			t.Errorf("the first %d bytes opened", i)
		}
	}
	if tells(string(sealed)) != "" {
		t.Error("the sealed text can be read")
	}
}

func FuzzOpen(f *testing.F) {
	k := secret.NewKeys()
	genuine := k.Seal("mail", "row", []byte(plain))
	f.Add("mail", "row", genuine)
	f.Add("", "", []byte{})
	f.Fuzz(func(t *testing.T, purpose, bound string, sealed []byte) {
		_, err := k.Open(purpose, bound, sealed)
		if isGenuine := purpose == "mail" && bound == "row" && bytes.Equal(sealed, genuine); (err == nil) != isGenuine {
			t.Errorf("genuine: %t, opened: %v", isGenuine, err)
		}
	})
}
