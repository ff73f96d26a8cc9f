package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// masterKeySize is the length of the master key in bytes.
const masterKeySize = 32

// Keys derives the keys of every purpose from one master key that lives outside
// the database (HKDF-SHA256, RFC 5869): a copy of the database alone opens
// nothing.
type Keys struct {
	master  []byte
	derived sync.Map // by purpose
}

// NewKeys makes keys that live only as long as the process.
func NewKeys() *Keys {
	k := make([]byte, masterKeySize)
	_, _ = rand.Read(k) // never fails: crypto/rand ends the program instead
	return &Keys{master: k}
}

// ReadKeys reads the master key from a file: 32 bytes in base64 on one line. It
// refuses a file that others than its owner can read, and gives an error that
// is fs.ErrNotExist when there is none.
func ReadKeys(path string) (*Keys, error) {
	f, err := os.Open(path) //nolint:gosec // the operator's own setting names the file
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("master key: %s has mode %04o and can be read by others; chmod 0600 %s", path, mode, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	k, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(k) != masterKeySize {
		return nil, fmt.Errorf("master key: %s must hold %d bytes in base64 (openssl rand -base64 %d)", path, masterKeySize, masterKeySize)
	}
	return &Keys{master: k}, nil
}

// CreateKeys makes a new master key and writes it to path with mode 0600. A
// file that is already there is never overwritten: then its key is the one.
func CreateKeys(path string) (*Keys, error) {
	k := NewKeys()
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	// Whole under another name first: a start that is killed half way would leave
	// a file that every later one refuses, and one beside it would read half a key.
	f, err := os.CreateTemp(dir, ".master.key-*") // makes it with mode 0600
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a key that nobody uses, and nobody else can read
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(k.master) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	err = os.Link(f.Name(), path) // unlike a rename, never in the place of another
	if errors.Is(err, fs.ErrExist) {
		return ReadKeys(path) // another start was faster
	}
	if err = errors.Join(err, syncDir(dir)); err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return k, nil
}

// syncDir makes a new name in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the folder of the operator's own file
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// derive gives the key for a purpose, of which there are few: it keeps them all.
func (k *Keys) derive(purpose string) []byte {
	if key, ok := k.derived.Load(purpose); ok {
		return key.([]byte) //nolint:forcetypeassert // see below
	}
	key, err := hkdf.Key(sha256.New, k.master, nil, "propusk "+purpose, sha256.Size)
	if err != nil {
		panic(err) // only for lengths that SHA-256 cannot give
	}
	k.derived.Store(purpose, key)
	return key
}

// MAC is a keyed fingerprint (HMAC-SHA256) of data for one purpose: equal data
// can be recognised, and without the master key not even guessed at.
func (k *Keys) MAC(purpose string, data []byte) []byte {
	h := hmac.New(sha256.New, k.derive("mac "+purpose))
	h.Write(data)
	return h.Sum(nil)
}

// Seal encrypts plain for one purpose (AES-256-GCM, random nonce in front).
// What was sealed opens only with the same purpose and bound: give it the
// identity of the row, so that no row can be passed off as another.
func (k *Keys) Seal(purpose, bound string, plain []byte) []byte {
	return k.aead(purpose).Seal(nil, nil, plain, []byte(bound)) //nolint:gosec // this GCM makes its nonce itself
}

// Open decrypts what Seal made.
func (k *Keys) Open(purpose, bound string, sealed []byte) ([]byte, error) {
	plain, err := k.aead(purpose).Open(nil, nil, sealed, []byte(bound))
	if err != nil {
		return nil, errors.New("sealed data does not open: another master key, or it was changed")
	}
	return plain, nil
}

func (k *Keys) aead(purpose string) cipher.AEAD {
	block, err := aes.NewCipher(k.derive("seal " + purpose))
	if err != nil {
		panic(err) // only for key lengths that derive does not give
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only for block sizes that AES does not have
	}
	return gcm
}
