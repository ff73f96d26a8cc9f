package apptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/go-json-experiment/json"
)

// Authenticator keeps one passkey, and is the browser before it too. It tells the
// truth unless a test makes it lie.
type Authenticator struct {
	Origin, RPID string
	Flags        byte // FlagUP and so on
	AAGUID       [16]byte
	ID           []byte // of the credential
	Handle       []byte // of the user
	Counter      uint32
	Still        bool // the counter does not go on
	Algorithm    int  // COSE; of the key

	// Lies, in the order in which an answer is made. Each may be nil.
	Client    func(map[string]any)     // the client data
	RawClient func([]byte) []byte      // the same as text
	Data      func([]byte) []byte      // the authenticator data
	Key       func(map[int]any)        // the public key
	Signed    func([]byte) []byte      // what is signed
	Signature func([]byte) []byte      // the signature
	Statement func(map[string]any)     // the attestation object
	Object    func([]byte) []byte      // the same as CBOR
	Answer    func(a, response Object) // the answer
	Attest    func(signed []byte) (f string, statement map[string]any)

	key crypto.Signer
}

// Object is a JSON object.
type Object = map[string]any

// The flags of authenticator data (WebAuthn, section 6.1).
const (
	FlagUP byte = 1 << 0
	FlagUV byte = 1 << 2
	FlagBE byte = 1 << 3
	FlagBS byte = 1 << 4
	FlagAT byte = 1 << 6
	FlagED byte = 1 << 7
)

// The algorithms of keys (COSE).
const (
	ES256 = -7
	EdDSA = -8
	RS256 = -257
)

// NewAuthenticator makes one that the origin of [PublicURL] may use and that
// verifies its user.
func NewAuthenticator(t testing.TB, algorithm int) *Authenticator {
	t.Helper()
	a := &Authenticator{Origin: PublicURL, RPID: "id.example.com", Flags: FlagUP | FlagUV, ID: make([]byte, 32), Algorithm: algorithm}
	_, _ = rand.Read(a.ID)
	var err error
	switch algorithm {
	case EdDSA:
		_, a.key, err = ed25519.GenerateKey(rand.Reader)
	case RS256:
		a.key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	return a
}

// NewKey changes the key for another.
func (a *Authenticator) NewKey(t testing.TB) {
	t.Helper()
	a.key = NewAuthenticator(t, a.Algorithm).key
}

// encoded is base64url without padding.
func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// challengeIn finds the challenge, and the handle of the user, in the options that
// an answer of the service holds.
func challengeIn(t testing.TB, answer *Answer) (challenge string, handle []byte) {
	t.Helper()
	var o struct {
		Data struct {
			Options struct {
				Challenge string `json:"challenge"`
				User      struct {
					ID string `json:"id"`
				} `json:"user"`
			} `json:"options"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer.Body, &o); err != nil || o.Data.Options.Challenge == "" {
		t.Fatalf("no options of a passkey (%v): %s", err, answer.Body)
	}
	handle, err := base64.RawURLEncoding.DecodeString(o.Data.Options.User.ID)
	if err != nil {
		t.Fatalf("handle of the user: %v", err)
	}
	return o.Data.Options.Challenge, handle
}

func (a *Authenticator) clientData(t testing.TB, ceremony, challenge string) []byte {
	t.Helper()
	d := map[string]any{"type": ceremony, "challenge": challenge, "origin": a.Origin, "crossOrigin": false}
	if a.Client != nil {
		a.Client(d)
	}
	b, err := json.Marshal(d, json.Deterministic(true))
	if err != nil {
		t.Fatalf("client data: %v", err)
	}
	if a.RawClient != nil {
		b = a.RawClient(b)
	}
	return b
}

func (a *Authenticator) data(flags byte, rest []byte) []byte {
	hash := sha256.Sum256([]byte(a.RPID))
	b := append(slices.Clone(hash[:]), flags)
	b = binary.BigEndian.AppendUint32(b, a.Counter)
	b = append(b, rest...)
	if a.Data != nil {
		b = a.Data(b)
	}
	return b
}

func (a *Authenticator) sign(t testing.TB, data, client []byte) []byte {
	t.Helper()
	hash := sha256.Sum256(client)
	signed := append(slices.Clone(data), hash[:]...)
	if a.Signed != nil {
		signed = a.Signed(signed)
	}
	digest, o := signed, crypto.SignerOpts(crypto.Hash(0))
	if _, ok := a.key.(ed25519.PrivateKey); !ok {
		sum := sha256.Sum256(signed)
		digest, o = sum[:], crypto.SHA256
	}
	signature, err := a.key.Sign(rand.Reader, digest, o)
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	if a.Signature != nil {
		signature = a.Signature(signature)
	}
	return signature
}

func (a *Authenticator) publicKey(t testing.TB) []byte {
	t.Helper()
	k := map[int]any{3: a.Algorithm}
	switch p := a.key.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			t.Fatalf("public key: %v", err)
		}
		k[1], k[-1], k[-2], k[-3] = 2, 1, point[1:33], point[33:]
	case ed25519.PublicKey:
		k[1], k[-1], k[-2] = 1, 6, []byte(p)
	case *rsa.PublicKey:
		k[1], k[-1], k[-2] = 3, p.N.Bytes(), []byte{1, 0, 1}
	}
	if a.Key != nil {
		a.Key(k)
	}
	return encodeCBOR(t, k)
}

func encodeCBOR(t testing.TB, v any) []byte {
	t.Helper()
	mode, err := cbor.CTAP2EncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		t.Fatalf("encode CBOR: %v", err)
	}
	return b
}

// Create answers the options for a new passkey.
func (a *Authenticator) Create(t testing.TB, options *Answer) Object {
	t.Helper()
	challenge, handle := challengeIn(t, options)
	a.Handle = handle
	attested := binary.BigEndian.AppendUint16(slices.Clone(a.AAGUID[:]), uint16(len(a.ID))) //nolint:gosec // a test's
	attested = append(append(attested, a.ID...), a.publicKey(t)...)
	client, data := a.clientData(t, "webauthn.create", challenge), a.data(a.Flags|FlagAT, attested)
	object := map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data}
	if a.Attest != nil {
		hash := sha256.Sum256(client)
		object["fmt"], object["attStmt"] = a.Attest(append(slices.Clone(data), hash[:]...))
	}
	if a.Statement != nil {
		a.Statement(object)
	}
	cbor := encodeCBOR(t, object)
	if a.Object != nil {
		cbor = a.Object(cbor)
	}
	return a.answer(Object{"clientDataJSON": encoded(client), "attestationObject": encoded(cbor), "transports": []string{"internal", "hybrid"}})
}

// Get answers the options for using the passkey.
func (a *Authenticator) Get(t testing.TB, options *Answer) Object {
	t.Helper()
	challenge, _ := challengeIn(t, options)
	if !a.Still {
		a.Counter++
	}
	client, data := a.clientData(t, "webauthn.get", challenge), a.data(a.Flags, nil)
	return a.answer(Object{
		"clientDataJSON": encoded(client), "authenticatorData": encoded(data), "signature": encoded(a.sign(t, data, client)), "userHandle": encoded(a.Handle),
	})
}

func (a *Authenticator) answer(response Object) Object {
	out := Object{
		"id": encoded(a.ID), "rawId": encoded(a.ID), "type": "public-key", "authenticatorAttachment": "platform", "clientExtensionResults": Object{}, "response": response,
	}
	if a.Answer != nil {
		a.Answer(out, response)
	}
	return out
}

// SelfAttest has the passkey attest itself with its own key (section 8.2).
func (a *Authenticator) SelfAttest(t testing.TB) {
	a.Attest = func(signed []byte) (string, map[string]any) {
		sum := sha256.Sum256(signed)
		signature, err := a.key.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			t.Fatalf("sign: %v", err)
		}
		return "packed", map[string]any{"alg": a.Algorithm, "sig": signature}
	}
}

// AddPasskey gives the person a passkey: he must have proven himself lately.
func (p *Person) AddPasskey(t testing.TB, a *Authenticator) *Answer {
	t.Helper()
	options := p.Do(t, "POST", "/auth/passkeys/options", nil).Want(t, 200)
	return p.Do(t, "POST", "/auth/passkeys", Object{"passkey": a.Create(t, options)})
}

// LoginWithPasskey logs somebody in by his passkey alone.
func (c *Client) LoginWithPasskey(t testing.TB, a *Authenticator) *Answer {
	t.Helper()
	options := c.Do(t, "POST", "/auth/login/passkey/options", Object{}).Want(t, 200)
	return c.Do(t, "POST", "/auth/login/passkey", Object{"passkey": a.Get(t, options)})
}

// LoginByPasskey logs the person in anew with his passkey alone.
func (p *Person) LoginByPasskey(t testing.TB, a *App, k *Authenticator) {
	t.Helper()
	p.Token = a.LoginWithPasskey(t, k).Want(t, 200).Text("token")
	p.Client = a.As(p.Token)
}
