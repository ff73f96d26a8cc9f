package account_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

type object = map[string]any

// withPasskey is somebody new with a passkey that has verified him.
func withPasskey(t testing.TB, a *apptest.App) (*apptest.Person, *apptest.Authenticator) {
	t.Helper()
	p, k := a.NewPerson(t), apptest.NewAuthenticator(t, apptest.ES256)
	p.AddPasskey(t, k).Want(t, 201)
	return p, k
}

func passkeys(t testing.TB, p *apptest.Person) []any {
	t.Helper()
	all, _ := p.Do(t, "GET", "/auth/passkeys", nil).Want(t, 200).Data("passkeys").([]any)
	return all
}

func beginAdding(t testing.TB, c *apptest.Client) *apptest.Answer {
	t.Helper()
	return c.Do(t, "POST", "/auth/passkeys/options", nil).Want(t, 200)
}

func beginLogin(t testing.TB, c *apptest.Client, name string) *apptest.Answer {
	t.Helper()
	body := object{}
	if name != "" {
		body["email_or_name"] = name
	}
	return c.Do(t, "POST", "/auth/login/passkey/options", body).Want(t, 200)
}

// heldLogin logs in by password, and gives the challenge.
func heldLogin(t testing.TB, a *apptest.App, p *apptest.Person) string {
	t.Helper()
	return a.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, 401, "second_factor_required").Text("challenge")
}

func factorOptions(t testing.TB, a *apptest.App, challenge string) *apptest.Answer {
	t.Helper()
	return a.Do(t, "POST", "/auth/login/second-factor/passkey-options", object{"challenge": challenge}).Want(t, 200)
}

// wantReason fails the test unless do causes one entry of a refused factor, with
// this reason: a test of one step must not pass for the fault of another.
func wantReason(t *testing.T, a *apptest.App, reason string, do func()) {
	t.Helper()
	var got []string
	for _, e := range entriesOf(t, a, do) {
		if e.Action == "factor.failed" {
			got = append(got, e.Data["reason"])
		}
	}
	if len(got) != 1 || !strings.Contains(got[0], reason) {
		t.Errorf("reasons %q, want one with %q", got, reason)
	}
}

// origins that are not the one of [apptest.PublicURL].
var foreignOrigins = []string{
	"http://id.example.com", "https://id.example.com:8443", "https://id.example.com:443", "https://evil.id.example.com", "https://example.com", "https://id.example.com.",
	"https://id.ex\u0430mple.com", "https://xn--id-8fa.example.com", "https://id.example.com.evil.example", "https://id.example.com@evil.example", "https://id.example.com/",
	"HTTPS://ID.EXAMPLE.COM", " https://id.example.com", "android:apk-key-hash:AAAA", "null", "",
}

// S-37, R1 to R13, as far as an authenticator or a browser can lie about them.
func TestAPasskeyThatLiesIsNotAdded(t *testing.T) {
	t.Parallel()
	type lie struct {
		step, reason string // in the trail
		code         string
		tell         func(t *testing.T, k *apptest.Authenticator)
	}
	client := func(name string, value any) func(*testing.T, *apptest.Authenticator) {
		return func(_ *testing.T, k *apptest.Authenticator) { k.Client = func(d object) { d[name] = value } }
	}
	statement := func(f func(object)) func(*testing.T, *apptest.Authenticator) {
		return func(_ *testing.T, k *apptest.Authenticator) { k.Statement = f }
	}
	const malformed = ""
	lies := []lie{
		{"R1", "ceremony type", "passkey_refused", client("type", "webauthn.get")},
		{"R1", "ceremony type", "passkey_refused", client("type", "")},
		{"R4", "cross origin", "passkey_refused", client("crossOrigin", true)},
		{"R4", "topOrigin", "passkey_refused", client("topOrigin", "https://evil.example")},
		{"R4", "", "passkey_malformed", client("crossOrigin", "no")},
		{"R5", "", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { k.RPID = "example.com" }},
		{"R5", "", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { k.RPID = "https://id.example.com" }},
		{"R6", "", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { k.Flags = apptest.FlagUV }},
		{"R8", "Backup State", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { k.Flags |= apptest.FlagBS }},
		{"R9", "", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { k.Key = func(m map[int]any) { m[3] = -65535 } }}, // RS1
		{"R9", "", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { k.Key = func(m map[int]any) { m[3] = -47 } }},    // ES256K
		{"R9", "", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { k.Key = func(m map[int]any) { m[3] = -37 } }},    // PS256
		{"R9", "", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { k.Key = func(m map[int]any) { m[3] = 0 } }},
		{"R10", "", "passkey_refused", statement(func(o object) { o["fmt"] = "unheard-of" })},
		{"R10", "", "passkey_refused", statement(func(o object) { o["attStmt"] = object{"sig": []byte{1}} })},
		{"R10", "", "passkey_refused", statement(func(o object) { o["fmt"] = "packed" })},
		{"R10", "", "passkey_refused", func(t *testing.T, k *apptest.Authenticator) {
			k.SelfAttest(t)
			k.Statement = func(o object) {
				sig := o["attStmt"].(object)["sig"].([]byte)
				sig[len(sig)-1] ^= 1
			}
		}},
		{"R10", "", "passkey_refused", func(t *testing.T, k *apptest.Authenticator) {
			k.SelfAttest(t)
			k.Statement = func(o object) { o["attStmt"].(object)["alg"] = apptest.RS256 }
		}},
		{"R10", "", "passkey_refused", func(t *testing.T, k *apptest.Authenticator) { // of another passkey
			other := apptest.NewAuthenticator(t, apptest.ES256)
			other.SelfAttest(t)
			k.Attest = other.Attest
		}},
		{"R10", "", "passkey_refused", func(t *testing.T, k *apptest.Authenticator) {
			k.SelfAttest(t)
			k.Statement = func(o object) { o["fmt"] = "tpm" }
		}},
		{"R11", malformed, "passkey_malformed", func(_ *testing.T, k *apptest.Authenticator) { k.ID = make([]byte, 1024) }},
		{"R11", malformed, "passkey_malformed", func(_ *testing.T, k *apptest.Authenticator) { k.ID = nil }},
		{"R12", "credential id", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { // another id than the one that is attested
			k.Answer = func(o, _ object) { o["id"], o["rawId"] = "AAAA", "AAAA" }
		}},
		{"R12", malformed, "passkey_malformed", func(_ *testing.T, k *apptest.Authenticator) {
			k.Answer = func(o, _ object) { o["rawId"] = "AAAA" }
		}},
	}
	for _, o := range foreignOrigins {
		lies = append(lies, lie{"R3", "origin", "passkey_refused", func(_ *testing.T, k *apptest.Authenticator) { k.Origin = o }})
	}
	for name, change := range map[string]func([]byte) []byte{
		"trailing byte":  func(b []byte) []byte { return append(b, 0) },
		"second object":  func(b []byte) []byte { return append(b, b...) },
		"cut":            func(b []byte) []byte { return b[:len(b)-1] },
		"nothing":        func([]byte) []byte { return nil },
		"indefinite map": func(b []byte) []byte { return append(append([]byte{0xbf}, b[1:]...), 0xff) },
		"duplicate key":  func(b []byte) []byte { return append(append([]byte{b[0] + 1}, b[1:]...), []byte("\x63fmt\x64none")...) },
		"depth bomb":     func([]byte) []byte { return append(bytes.Repeat([]byte{0x81}, 40000), 0) },
		"depth in statement": func(b []byte) []byte {
			return bytes.Replace(b, []byte("\x67attStmt\xa0"), append([]byte("\x67attStmt"), bytes.Repeat([]byte{0xa1, 0x01}, 30)...), 1)
		},
		"tag":           func(b []byte) []byte { return append([]byte{0xd9, 0xd9, 0xf7}, b...) },
		"a huge length": func([]byte) []byte { return []byte{0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff} },
		"a string":      func([]byte) []byte { return []byte("\x63fmt") },
	} {
		lies = append(lies, lie{"R13 " + name, malformed, "passkey_malformed", func(_ *testing.T, k *apptest.Authenticator) { k.Object = change }})
	}
	for name, change := range map[string]func([]byte) []byte{
		"trailing byte": func(b []byte) []byte { return append(b, 0) },
		"cut":           func(b []byte) []byte { return b[:len(b)-1] },
		"short":         func(b []byte) []byte { return b[:36] },
		"only a head":   func(b []byte) []byte { return b[:37] },
		"extensions that are missing": func(b []byte) []byte {
			b[32] |= apptest.FlagED
			return b
		},
		"an id that is longer than everything": func(b []byte) []byte {
			b[53], b[54] = 3, 255
			return b
		},
		"no credential": func(b []byte) []byte {
			b[32] &^= apptest.FlagAT
			return b[:37]
		},
	} {
		lies = append(lies, lie{"R13 data: " + name, malformed, "passkey_malformed", func(_ *testing.T, k *apptest.Authenticator) { k.Data = change }})
	}
	for name, change := range map[string]func([]byte) []byte{
		"twice a challenge": func(b []byte) []byte {
			return append([]byte(`{"challenge":"`+strings.Repeat("A", 43)+`",`), b[1:]...)
		},
		"in other letters": func(b []byte) []byte { return bytes.Replace(b, []byte(`"challenge"`), []byte(`"Challenge"`), 1) },
		"no JSON":          func(b []byte) []byte { return b[1:] },
		"a list":           func(b []byte) []byte { return append(append([]byte("["), b...), ']') },
		"bad UTF-8":        func(b []byte) []byte { return bytes.Replace(b, []byte("webauthn"), []byte("webauth\xff"), 1) },
		"something behind": func(b []byte) []byte { return append(b, "{}"...) },
	} {
		lies = append(lies, lie{"R2 client data: " + name, malformed, "passkey_malformed", func(_ *testing.T, k *apptest.Authenticator) { k.RawClient = change }})
	}
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		for i, l := range lies {
			k := apptest.NewAuthenticator(t, apptest.ES256)
			l.tell(t, k)
			options := beginAdding(t, p.Client)
			try := func() {
				got := p.Do(t, "POST", "/auth/passkeys", object{"passkey": k.Create(t, options)})
				if code := got.Code(); code != l.code && got.Fields()["passkey"] != l.code || got.Status != 422 {
					t.Errorf("%s (%d): %d %s", l.step, i, got.Status, got.Body)
				}
			}
			if l.code == "passkey_malformed" {
				try()
				continue
			}
			wantReason(t, a, l.reason, try)
			// The challenge is spent, also for whoever tells the truth now.
			honest := apptest.NewAuthenticator(t, apptest.ES256)
			p.Do(t, "POST", "/auth/passkeys", object{"passkey": honest.Create(t, options)}).Want(t, 403, "passkey_challenge_invalid")
		}
		if n := len(passkeys(t, p)); n != 0 {
			t.Errorf("%d passkeys were added", n)
		}
		p.AddPasskey(t, apptest.NewAuthenticator(t, apptest.ES256)).Want(t, 201)
	})
}

// S-37, R2, V25: the challenge of a new passkey is good once, for five minutes,
// in the session that asked, for nothing else, and no other is good for it.
func TestTheChallengeOfANewPasskeyIsBoundAndSingleUse(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, q := a.NewPerson(t), a.NewPerson(t)
		add := func(c *apptest.Client, options *apptest.Answer) *apptest.Answer {
			return c.Do(t, "POST", "/auth/passkeys", object{"passkey": apptest.NewAuthenticator(t, apptest.ES256).Create(t, options)})
		}
		const spent = "passkey_challenge_invalid"
		add(q.Client, beginAdding(t, p.Client)).Want(t, 403, spent) // another user
		elsewhere := a.As(another(t, a, p))
		add(elsewhere, beginAdding(t, p.Client)).Want(t, 403, spent) // another session
		add(p.Client, beginLogin(t, a.Client, "")).Want(t, 403, spent)
		old := beginAdding(t, p.Client)
		options := beginAdding(t, p.Client)
		add(p.Client, old).Want(t, 403, spent) // displaced
		add(p.Client, options).Want(t, 201)
		k := apptest.NewAuthenticator(t, apptest.ES256)
		k.Client = func(d object) { d["challenge"] = strings.Repeat("A", 43) } // nobody's
		q.AddPasskey(t, k).Want(t, 403, spent)

		options = beginAdding(t, q.Client)
		a.Clock.Move(5*time.Minute - time.Second)
		add(q.Client, options).Want(t, 201)
		r := a.NewPerson(t)
		options = beginAdding(t, r.Client)
		a.Clock.Move(5 * time.Minute)
		add(r.Client, options).Want(t, 403, spent)

		// What logs in adds nothing, and what adds logs nobody in.
		s, k2 := withPasskey(t, a)
		challenge := heldLogin(t, a, s)
		for _, o := range []*apptest.Answer{beginLogin(t, a.Client, ""), factorOptions(t, a, heldLogin(t, a, s))} {
			a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": challenge, "passkey": k2.Get(t, o)}).Want(t, 401, spent)
		}
		o := factorOptions(t, a, challenge)
		a.Do(t, "POST", "/auth/login/passkey", object{"passkey": k2.Get(t, o)}).Want(t, 401, spent)
		a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": challenge, "passkey": k2.Get(t, o)}).Want(t, 200)
		a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": challenge, "passkey": k2.Get(t, o)}).Want(t, 401, "challenge_invalid")
	})
}

// S-37, R12: a credential has one owner, and is there once.
func TestAPasskeyBelongsToOneUser(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, k := withPasskey(t, a)
		thief := apptest.NewAuthenticator(t, apptest.ES256) // with a key of his own
		thief.ID = k.ID
		q := a.NewPerson(t)
		q.AddPasskey(t, thief).Want(t, 409, "passkey_exists")
		k.Handle = nil
		q.AddPasskey(t, k).Want(t, 409, "passkey_exists")
		if n := len(passkeys(t, q)); n != 0 {
			t.Errorf("%d passkeys", n)
		}
		in := a.Do(t, "POST", "/auth/login/passkey", object{"passkey": ownHandle(t, p, k).Get(t, beginLogin(t, a.Client, ""))}).Want(t, 200)
		if in.Text("user_id") != p.ID {
			t.Errorf("logged in as %s", in.Text("user_id"))
		}
	})
}

// ownHandle gives the authenticator the handle of its user again.
func ownHandle(t testing.TB, p *apptest.Person, k *apptest.Authenticator) *apptest.Authenticator {
	t.Helper()
	id, err := hex.DecodeString(strings.ReplaceAll(p.ID, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	k.Handle = id
	return k
}

// S-37, R9, R10: nothing of a new passkey is verified that would take the
// processor for seconds, with all who write to the database waiting: neither with its
// own key nor with those of its attestation, at whatever depth.
func TestAPasskeyThatCostsTooMuchIsNotAdded(t *testing.T) {
	t.Parallel()
	modulus := func(size int) []byte {
		n := make([]byte, size)
		_, _ = rand.Read(n)
		n[0] |= 0x80
		n[size-1] |= 1
		return n
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	certificate := func(k *apptest.Authenticator, key rsa.PublicKey) []byte {
		extension, err := asn1.Marshal(k.AAGUID[:])
		must(t, err)
		c := &x509.Certificate{
			SerialNumber: big.NewInt(1),
			Subject:      pkix.Name{Country: []string{"US"}, Organization: []string{"x"}, OrganizationalUnit: []string{"Authenticator Attestation"}, CommonName: "x"},
			NotBefore:    time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), BasicConstraintsValid: true,
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 45724, 1, 1, 4}, Value: extension}},
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, &key, signer)
		must(t, err)
		return der
	}
	long := rsa.PublicKey{N: new(big.Int).SetBytes(modulus(8000)), E: 65537}
	odd := rsa.PublicKey{N: new(big.Int).SetBytes(modulus(256)), E: 1<<31 - 1}
	packed := func(der []byte, size int) object {
		return object{"alg": apptest.RS256, "sig": append([]byte{0}, modulus(size-1)...), "x5c": []any{der}}
	}
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		for what, c := range map[string]struct {
			reason string
			make   func(k *apptest.Authenticator)
		}{
			"its key": {"its key is too long", func(k *apptest.Authenticator) {
				k.Key = func(m map[int]any) { m[-1], m[-2] = modulus(700), []byte{1, 0, 1} }
			}},
			"a certificate": {"a key of its attestation is too long", func(k *apptest.Authenticator) {
				der := certificate(k, long)
				k.Attest = func([]byte) (string, object) { return "packed", packed(der, 8000) }
			}},
			"an exponent": {"a key of its attestation is too long", func(k *apptest.Authenticator) {
				der := certificate(k, odd)
				k.Attest = func([]byte) (string, object) { return "packed", packed(der, 256) }
			}},
			"one among many": {"a key of its attestation is too long", func(k *apptest.Authenticator) {
				der := certificate(k, long)
				k.Statement = func(o object) {
					o["fmt"] = "compound"
					o["attStmt"] = []any{object{"fmt": "none", "attStmt": object{}}, object{"fmt": "packed", "attStmt": packed(der, 8000)}}
				}
			}},
			"where nobody looks": {"attestations of SafetyNet are not taken", func(k *apptest.Authenticator) {
				k.Statement = func(o object) {
					o["fmt"], o["attStmt"] = "android-safetynet", object{"ver": "1", "response": []byte("x.y.z")}
				}
			}},
		} {
			k := apptest.NewAuthenticator(t, apptest.RS256)
			c.make(k)
			t.Log(what)
			wantReason(t, a, c.reason, func() { p.AddPasskey(t, k).Want(t, 422, "passkey_refused") })
		}
	})
}

// S-37, R14: the user handle is random and says nothing of the user; a deleted
// and made again account has another. The options name what is there already.
func TestOptionsTellNothingOfTheUser(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, k := withPasskey(t, a)
		if len(k.Handle) != 16 {
			t.Errorf("handle of %d bytes", len(k.Handle))
		}
		if strings.Contains(string(k.Handle), p.Username) {
			t.Error("the handle holds the name")
		}
		again := apptest.NewAuthenticator(t, apptest.ES256)
		p.LoginByPasskey(t, a, k)
		options := beginAdding(t, p.Client)
		again.Create(t, options)
		if !bytes.Equal(again.Handle, k.Handle) {
			t.Error("two passkeys of a user have two handles")
		}
		if !bytes.Contains(options.Body, []byte(base64.RawURLEncoding.EncodeToString(k.ID))) {
			t.Errorf("the passkey that is there is not excluded: %s", options.Body)
		}
		if bytes.Contains(options.Body, []byte(p.Email)) {
			t.Errorf("the options hold the address: %s", options.Body)
		}
		// S-17, V50: a name is answered like none, known or not.
		shape := func(name string) string {
			var o struct {
				Data struct {
					Options map[string]jsontext.Value `json:"options"`
				} `json:"data"`
			}
			if err := json.Unmarshal(beginLogin(t, a.Client, name).Body, &o); err != nil {
				t.Fatal(err)
			}
			o.Data.Options["challenge"] = nil
			return fmt.Sprint(slices.Sorted(maps.Keys(o.Data.Options)), o.Data.Options)
		}
		for _, name := range []string{p.Username, p.Email, "nobody", "nobody@example.com", strings.Repeat("ё", 4000)} {
			if got, want := shape(name), shape(""); got != want {
				t.Errorf("options for %q: %s, want %s", name, got, want)
			}
		}
	})
}

// S-37, A1 to A11: whatever an assertion lies about, it logs nobody in, and the
// challenge is spent.
func TestAPasskeyThatLiesDoesNotLogIn(t *testing.T) {
	t.Parallel()
	type lie struct {
		step, reason, code string
		tell               func(t *testing.T, k *apptest.Authenticator)
	}
	client := func(name string, value any) func(*testing.T, *apptest.Authenticator) {
		return func(_ *testing.T, k *apptest.Authenticator) { k.Client = func(d object) { d[name] = value } }
	}
	const refused = "passkey_refused"
	lies := []lie{
		{"A2", "blank User Handle", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Handle = nil }},
		{"A2", "do not match", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Handle = make([]byte, 16) }},
		{"A2", "do not match", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Handle = append(slices.Clone(k.Handle), 0) }},
		{"A3", "ceremony type", refused, client("type", "webauthn.create")},
		{"A3", "ceremony type", refused, client("type", "payment.get")},
		{"A5", "cross origin", refused, client("crossOrigin", true)},
		{"A5", "topOrigin", refused, client("topOrigin", "https://evil.example")},
		{"A6", "", refused, func(_ *testing.T, k *apptest.Authenticator) { k.RPID = "example.com" }},
		{"A7", "", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Flags = apptest.FlagUV }},
		{"A8", "verify", "passkey_unverified", func(_ *testing.T, k *apptest.Authenticator) { k.Flags = apptest.FlagUP }},
		{"A9", "Backup Eligible", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Flags |= apptest.FlagBE }},
		{"A9", "Backup Eligible", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Flags |= apptest.FlagBE | apptest.FlagBS }},
		{"A9", "Backup State", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Flags |= apptest.FlagBS }},
		{"A10", "signature", refused, func(_ *testing.T, k *apptest.Authenticator) {
			k.Signature = func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
		}},
		{"A10", "signature", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Signature = func([]byte) []byte { return nil } }},
		{"A10", "signature", refused, func(t *testing.T, k *apptest.Authenticator) { k.NewKey(t) }},
		{"A10", "signature", refused, func(_ *testing.T, k *apptest.Authenticator) {
			k.Signed = func(b []byte) []byte { b[33] ^= 1; return b } // another counter than it says
		}},
		{"A10", "signature", refused, func(_ *testing.T, k *apptest.Authenticator) {
			k.Signed = func(b []byte) []byte { b[len(b)-1] ^= 1; return b } // other client data
		}},
		{"A11", "counter", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Counter, k.Still = 2, true }}, // as last time
		{"A11", "counter", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Counter, k.Still = 1, true }},
		{"A11", "counter", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Counter, k.Still = 0, true }},
	}
	for _, o := range foreignOrigins {
		lies = append(lies, lie{"A5", "origin", refused, func(_ *testing.T, k *apptest.Authenticator) { k.Origin = o }})
	}
	apptest.Each(t, apptest.Options{Policy: patient}, func(t *testing.T, a *apptest.App) {
		p, k := withPasskey(t, a)
		k.Counter = 1
		a.LoginWithPasskey(t, k).Want(t, 200) // and now it is 2
		for i, l := range lies {
			liar := *k
			liar.Handle = slices.Clone(k.Handle)
			l.tell(t, &liar)
			options := beginLogin(t, a.Client, "")
			wantReason(t, a, l.reason, func() {
				got := a.Do(t, "POST", "/auth/login/passkey", object{"passkey": liar.Get(t, options)})
				if got.Status != 401 || got.Code() != l.code {
					t.Errorf("%s (%d): %d %s", l.step, i, got.Status, got.Body)
				}
			})
			honest := *k
			a.Do(t, "POST", "/auth/login/passkey", object{"passkey": honest.Get(t, options)}).Want(t, 401, "passkey_challenge_invalid")
		}
		k.Counter = 9
		in := a.LoginWithPasskey(t, k).Want(t, 200)
		if in.Text("user_id") != p.ID {
			t.Errorf("logged in as %s", in.Text("user_id"))
		}
	})
}

func patient(p *account.Policy) { p.AttemptsPerAccount, p.AttemptsPerNetwork = 1<<20, 1<<20 }

// S-37, A1, A2, V39, V40: nobody logs in with another's passkey, neither by its
// handle nor beside another's password, nor proves himself with it.
func TestAPasskeyIsNobodyElses(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, mine := withPasskey(t, a)
		q, his := withPasskey(t, a)
		liar := *mine // says that it is his
		liar.Handle = his.Handle
		a.LoginWithPasskey(t, &liar).Want(t, 401, "passkey_refused")
		liar.ID = his.ID
		a.LoginWithPasskey(t, &liar).Want(t, 401, "passkey_refused")

		challenge := heldLogin(t, a, q)
		options := factorOptions(t, a, challenge)
		if bytes.Contains(options.Body, []byte(base64.RawURLEncoding.EncodeToString(mine.ID))) || !bytes.Contains(options.Body, []byte(base64.RawURLEncoding.EncodeToString(his.ID))) {
			t.Errorf("allowed: %s", options.Body)
		}
		wantReason(t, a, "none of the user's", func() {
			a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": challenge, "passkey": mine.Get(t, options)}).Want(t, 401, "passkey_refused")
		})
		options = q.Do(t, "POST", "/auth/reauthenticate/passkey-options", nil).Want(t, 200)
		wantReason(t, a, "none of the user's", func() {
			q.Do(t, "POST", "/auth/reauthenticate", object{"passkey": mine.Get(t, options)}).Want(t, 403, "passkey_refused")
		})

		// Whoever is named must be he who answers, however his name is spelled.
		for name, want := range map[string]int{
			p.Username: 200, strings.ToUpper(p.Username): 200, p.Email: 200, strings.ToUpper(p.Email): 200, q.Username: 401, q.Email: 401, "nobody": 401, "@": 401,
		} {
			a.Do(t, "POST", "/auth/login/passkey", object{"passkey": mine.Get(t, beginLogin(t, a.Client, name))}).Want(t, want)
		}
	})
}

// S-37, A4: the challenge of a login is good once and for five minutes.
func TestTheChallengeOfAPasskeyLoginIsSingleUse(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		_, k := withPasskey(t, a)
		options := beginLogin(t, a.Client, "")
		answer := k.Get(t, options)
		login := func(answer any) *apptest.Answer {
			return a.Do(t, "POST", "/auth/login/passkey", object{"passkey": answer})
		}
		login(answer).Want(t, 200)
		login(answer).Want(t, 401, "passkey_challenge_invalid")
		login(k.Get(t, options)).Want(t, 401, "passkey_challenge_invalid")
		options = beginLogin(t, a.Client, "")
		a.Clock.Move(5*time.Minute - time.Second)
		login(k.Get(t, options)).Want(t, 200)
		options = beginLogin(t, a.Client, "")
		a.Clock.Move(5 * time.Minute)
		login(k.Get(t, options)).Want(t, 401, "passkey_challenge_invalid")
		k.Client = func(d object) { d["challenge"] = strings.Repeat("B", 42) + "A" }
		login(k.Get(t, beginLogin(t, a.Client, ""))).Want(t, 401, "passkey_challenge_invalid")
		k.Client = func(d object) { delete(d, "challenge") }
		login(k.Get(t, beginLogin(t, a.Client, ""))).Want(t, 422)
	})
}

// S-37, A8, A14: that a passkey has verified its user counts if it did so when it
// was added, or once beside another factor; where it stands alone, it must.
func TestUserVerificationCountsOnceItIsTrusted(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, k := a.NewPerson(t), apptest.NewAuthenticator(t, apptest.ES256)
		k.Flags = apptest.FlagUP // R7: it may be added, as a second factor
		p.AddPasskey(t, k).Want(t, 201)
		k.Flags |= apptest.FlagUV
		a.LoginWithPasskey(t, k).Want(t, 401, "passkey_unverified") // on its own word
		a.LoginWithPasskey(t, k).Want(t, 401, "passkey_unverified") // nor has it counted before

		again := func(c *apptest.Client) *apptest.Answer {
			return c.Do(t, "POST", "/auth/reauthenticate", object{"passkey": k.Get(t, c.Do(t, "POST", "/auth/reauthenticate/passkey-options", nil).Want(t, 200))})
		}
		finish := func() *apptest.Client {
			challenge := heldLogin(t, a, p)
			return a.As(a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": challenge, "passkey": k.Get(t, factorOptions(t, a, challenge))}).Want(t, 200).Text("token"))
		}
		k.Flags = apptest.FlagUP
		c := finish()
		k.Flags |= apptest.FlagUV
		again(c).Want(t, 200) // in a session: a token may be stolen
		a.LoginWithPasskey(t, k).Want(t, 401, "passkey_unverified")
		c = finish() // beside the password
		a.LoginWithPasskey(t, k).Want(t, 200)

		k.Flags = apptest.FlagUP // from now on it has to, where it stands alone and for step-up
		a.LoginWithPasskey(t, k).Want(t, 401, "passkey_unverified")
		again(c).Want(t, 403, "passkey_unverified")
		if options := c.Do(t, "POST", "/auth/reauthenticate/passkey-options", nil).Want(t, 200); !bytes.Contains(options.Body, []byte(`"userVerification":"required"`)) {
			t.Errorf("step-up does not ask for it: %s", options.Body)
		}
		finish()
	})
}

// S-37, A9: the backup state is kept.
func TestTheBackupStateIsKept(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, k := a.NewPerson(t), apptest.NewAuthenticator(t, apptest.EdDSA)
		k.Flags |= apptest.FlagBE
		p.AddPasskey(t, k).Want(t, 201)
		want := func(backedUp bool) {
			t.Helper()
			if one := passkeys(t, p)[0].(object); one["backed_up"] != backedUp {
				t.Errorf("%v, want %v", one, backedUp)
			}
		}
		want(false)
		k.Flags |= apptest.FlagBS
		a.LoginWithPasskey(t, k).Want(t, 200)
		want(true)
		k.Flags &^= apptest.FlagBS
		a.LoginWithPasskey(t, k).Want(t, 200)
		want(false)
		k.Flags &^= apptest.FlagBE
		a.LoginWithPasskey(t, k).Want(t, 401, "passkey_refused")
	})
}

// S-37, A11: a counter that goes back is in the trail and the metrics. A passkey
// that cannot be copied is refused; of one that can, the copies may not count
// together.
func TestACounterThatGoesBackIsRecorded(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		for _, synced := range []bool{false, true} {
			p, k := a.NewPerson(t), apptest.NewAuthenticator(t, apptest.ES256)
			want, outcome := 401, "failure"
			if synced {
				k.Flags |= apptest.FlagBE | apptest.FlagBS
				want, outcome = 200, "success"
			}
			k.Counter = 10
			p.AddPasskey(t, k).Want(t, 201)
			k.Still = true
			found := 0
			for _, e := range entriesOf(t, a, func() { a.LoginWithPasskey(t, k).Want(t, want) }) {
				if e.Action == "passkey.copied" {
					if found++; string(e.Outcome) != outcome || e.TargetID != p.ID || e.Data["passkey_id"] == "" {
						t.Errorf("entry %+v", e)
					}
				}
			}
			if found != 1 {
				t.Errorf("synced %v: %d entries", synced, found)
			}
			k.Still = false
			a.LoginWithPasskey(t, k).Want(t, 200)
		}
		if !strings.Contains(metrics(t, a), `propusk_second_factors_total{outcome="copied"} 2`) {
			t.Error("the metrics do not know")
		}
		zero, k := a.NewPerson(t), apptest.NewAuthenticator(t, apptest.ES256) // most have no counter
		k.Still = true
		zero.AddPasskey(t, k).Want(t, 201)
		a.LoginWithPasskey(t, k).Want(t, 200)
		a.LoginWithPasskey(t, k).Want(t, 200)
	})
}

// S-37, A11: the owner is told of a passkey that may have been copied, at every
// address that is proven, in his language; of other refusals he is not, and
// whoever has the copy cannot bury him in messages.
func TestTheOwnerIsToldOfACopiedPasskey(t *testing.T) {
	t.Parallel()
	apptest.Each(t, manyMessages(), func(t *testing.T, a *apptest.App) {
		owner := func(name string, proven bool) (p *apptest.Person, k *apptest.Authenticator, number string) {
			p, k = newUser(t, a, name, "", proven), apptest.NewAuthenticator(t, apptest.ES256)
			number = withPhone(t, a, p, proven)
			k.Counter = 10
			p.Do(t, "POST", "/auth/passkeys", object{"name": "blue key", "passkey": k.Create(t, beginAdding(t, p.Client))}).Want(t, 201)
			a.Deliver(t)
			a.Inbox.Clear()
			return p, k, number
		}
		thief := a.With("User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0")
		copied := func(k *apptest.Authenticator, times int) {
			t.Helper()
			k.Still = true
			for range times {
				thief.LoginWithPasskey(t, k).Want(t, 401, "passkey_refused")
			}
			k.Still = false
		}
		told := func(what, to string, want int) (last apptest.Letter) {
			t.Helper()
			n := 0
			for _, l := range a.Letters(t, to) {
				if l.Kind == outbox.PasskeyCopied {
					last, n = l, n+1
				}
			}
			if n != want {
				t.Errorf("%s: told %d times, want %d", what, n, want)
			}
			return last
		}
		p, k, number := owner("margarita", true)
		for what, lie := range map[string]func(x *apptest.Authenticator){
			"of another origin":   func(x *apptest.Authenticator) { x.Origin = "https://evil.example" },
			"of another party":    func(x *apptest.Authenticator) { x.RPID = "evil.example" },
			"without its user":    func(x *apptest.Authenticator) { x.Flags &^= apptest.FlagUV },
			"with another's key":  func(x *apptest.Authenticator) { x.NewKey(t) },
			"that nobody has":     func(x *apptest.Authenticator) { x.ID = []byte("nobody's") },
			"copied, and forged":  func(x *apptest.Authenticator) { x.Still = true; x.NewKey(t) },
			"copied, and phished": func(x *apptest.Authenticator) { x.Still = true; x.Origin = "https://evil.example" },
		} {
			x := *k
			lie(&x)
			thief.LoginWithPasskey(t, &x).Want(t, 401)
			told("a passkey "+what, p.Email, 0)
			told("a passkey "+what, number, 0)
		}
		for range 5 { // sign-ins are told too, and must not use up what this is told with
			a.LoginWithPasskey(t, k).Want(t, 200)
		}
		copied(k, 1)
		l := told("one attempt", p.Email, 1)
		for _, want := range []string{"margarita", "blue key", "Firefox, Windows", "127.0.0.1", a.Clock.Now().UTC().Format("15:04"), "remove this one"} {
			if !strings.Contains(strings.ReplaceAll(l.Text, "\u200a", ""), want) {
				t.Errorf("the mail does not say %q:\n%s", want, l.Text)
			}
		}
		if sms := told("one attempt", number, 1); strings.Contains(sms.Text, "blue") || l.Link+l.Code+sms.Link != "" {
			t.Errorf("the SMS is %q", sms.Text)
		}
		copied(k, 9)
		told("ten attempts", p.Email, 3)
		told("ten attempts", number, 3)
		a.Clock.Move(8*time.Hour + time.Second)
		copied(k, 9)
		told("eight hours later", p.Email, 4)
		told("eight hours later", number, 4)
		a.LoginWithPasskey(t, k).Want(t, 200)

		q, other, strangers := owner("nina", false) // they may be a stranger's
		copied(other, 1)
		told("an address that is not proven", q.Email, 0)
		told("a number that is not proven", strangers, 0)

		r, russian, _ := owner("anna", true)
		direct(t, a.URL).exec(t, `UPDATE users SET language = 'ru' WHERE id = '`+r.ID+`'`)
		copied(russian, 1)
		if l := told("in Russian", r.Email, 1); !strings.Contains(l.Text, "Ключ        blue key") {
			t.Errorf("not in Russian:\n%s", l.Text)
		}
		// Many may have copies of one that can be copied; he is told as well.
		synced, syncedKey := newUser(t, a, "berta", "", true), apptest.NewAuthenticator(t, apptest.ES256)
		synced.Login(t, a.Client)
		syncedKey.Flags |= apptest.FlagBE | apptest.FlagBS
		syncedKey.Counter = 10
		synced.AddPasskey(t, syncedKey).Want(t, 201)
		syncedKey.Still = true
		a.LoginWithPasskey(t, syncedKey).Want(t, 200)
		told("a passkey that can be copied", synced.Email, 1)
	})
}

// S-37, A12, S-14, V61: a passkey that was removed, or whose user is disabled or
// gone, is refused at once, and so is a challenge from before.
func TestARemovedPasskeyIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, k := withPasskey(t, a)
		options := beginLogin(t, a.Client, "")
		p.LoginByPasskey(t, a, k)
		id := passkeys(t, p)[0].(object)["id"].(string)
		q, other := withPasskey(t, a)
		q.Do(t, "DELETE", "/auth/passkeys/"+id, nil).Want(t, 404, "factor_not_found")
		q.Do(t, "PATCH", "/auth/passkeys/"+id, object{"name": "mine"}).Want(t, 404, "factor_not_found")
		p.Do(t, "DELETE", "/auth/passkeys/"+id, nil).Want(t, 200)
		a.Do(t, "POST", "/auth/login/passkey", object{"passkey": k.Get(t, options)}).Want(t, 401, "passkey_refused")
		a.LoginWithPasskey(t, k).Want(t, 401, "passkey_refused")

		options = beginLogin(t, a.Client, "")
		must(t, a.Service.DisableUser(t.Context(), operator(), q.ID))
		a.Do(t, "POST", "/auth/login/passkey", object{"passkey": other.Get(t, options)}).Want(t, 401, "passkey_refused")
		must(t, a.Service.EnableUser(t.Context(), operator(), q.ID))
		a.LoginWithPasskey(t, other).Want(t, 200)
		must(t, a.Service.RemoveFactors(t.Context(), operator(), q.ID, account.Passkey))
		a.LoginWithPasskey(t, other).Want(t, 401, "passkey_refused")

		r, last := withPasskey(t, a)
		must(t, a.Service.DeleteUser(t.Context(), operator(), r.ID, nil))
		a.LoginWithPasskey(t, last).Want(t, 401, "passkey_refused")
	})
}

// S-37, A13, P4, V33: of a hundred uses of one answer, one counts.
func TestOneAnswerOfAPasskeyCountsOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Policy: patient}, func(t *testing.T, a *apptest.App) {
		p, k := withPasskey(t, a)
		count := func(what string, n int, do func() *apptest.Answer) {
			t.Helper()
			answers := make([]*apptest.Answer, n)
			together(n, func(i int) { answers[i] = do() })
			won := 0
			for _, got := range answers {
				if got.Status == 200 || got.Status == 201 {
					won++
				} else if got.Status >= 500 {
					t.Errorf("%s: %d %s", what, got.Status, got.Body)
				}
			}
			if won != 1 {
				t.Errorf("%s: %d of %d counted", what, won, n)
			}
		}
		body := object{"passkey": k.Get(t, beginLogin(t, a.Client, ""))}
		count("login", 100, func() *apptest.Answer { return a.Do(t, "POST", "/auth/login/passkey", body) })
		challenge := heldLogin(t, a, p)
		body2 := object{"challenge": challenge, "passkey": k.Get(t, factorOptions(t, a, challenge))}
		count("second factor", 100, func() *apptest.Answer { return a.Do(t, "POST", "/auth/login/second-factor", body2) })
		q := a.NewPerson(t)
		body3 := object{"passkey": apptest.NewAuthenticator(t, apptest.ES256).Create(t, beginAdding(t, q.Client))}
		count("adding", 50, func() *apptest.Answer { return q.Do(t, "POST", "/auth/passkeys", body3) })
		if n := len(passkeys(t, q)); n != 1 {
			t.Errorf("%d passkeys", n)
		}
	})
}

// S-21: a flood of wrong passwords and wrong codes closes no passkey.
func TestAFloodOfGuessesClosesNoPasskey(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.AttemptsPerAccount, p.AttemptsPerNetwork, p.AttemptsLimit = 3, 1<<20, 5 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p, k := withPasskey(t, a)
		challenge := heldLogin(t, a, p)
		for range 8 {
			a.Do(t, "POST", "/auth/login", loginBody(p.Username, wrongPassword))
			a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": challenge, "code": "000000"})
		}
		a.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, 429)
		a.LoginWithPasskey(t, k).Want(t, 200)
		a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": challenge, "passkey": k.Get(t, factorOptions(t, a, challenge))}).Want(t, 200)
	})
}

// Who must have a factor adds a passkey in the middle of his login, once.
func TestAPasskeyIsAddedAtALoginThatNeedsOne(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		must(t, a.Service.SetFactorRequired(t.Context(), operator(), p.ID, true))
		begin := func() string {
			return a.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, 401, "second_factor_enrolment_required").Text("challenge")
		}
		enrol := func(challenge string) *apptest.Answer {
			return a.Do(t, "POST", "/auth/login/second-factor/enrol", object{"challenge": challenge, "factor": "passkey"}).Want(t, 200)
		}
		finish := func(challenge string, answer any) *apptest.Answer {
			return a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": challenge, "passkey": answer})
		}
		k := apptest.NewAuthenticator(t, apptest.ES256)
		challenge, other := begin(), begin()
		answer := k.Create(t, enrol(challenge))
		finish(other, answer).Want(t, 401, "passkey_challenge_invalid") // V42: of another login
		finish(challenge, k.Create(t, enrol(challenge))).Want(t, 200)
		finish(challenge, answer).Want(t, 401, "challenge_invalid")
		a.LoginWithPasskey(t, k).Want(t, 200)
		if n := a.Do(t, "POST", "/auth/login/second-factor/enrol", object{"challenge": other, "factor": "passkey"}); n.Status != 401 {
			t.Errorf("enrols again: %d %s", n.Status, n.Body)
		}
		a.Do(t, "POST", "/auth/login/second-factor/enrol", object{"challenge": heldLogin(t, a, p), "factor": "passkey"}).Want(t, 409, "factor_exists")
		p.LoginByPasskey(t, a, k)
		id := passkeys(t, p)[0].(object)["id"].(string)
		p.Do(t, "DELETE", "/auth/passkeys/"+id, nil).Want(t, 409, "last_factor")
	})
}

// At most twenty, with names; the account is told of each.
func TestPasskeysHaveNamesAndALimit(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: apptest.SQLiteURL(t)})
	p := newUser(t, a, "named", "", true)
	k := apptest.NewAuthenticator(t, apptest.ES256)
	k.AAGUID = [16]byte{0xfb, 0xfc, 0x30, 0x07, 0x15, 0x4e, 0x4e, 0xcc, 0x8c, 0x0b, 0x6e, 0x02, 0x05, 0x57, 0xd7, 0xbd}
	p.Login(t, a.Client)
	added := p.AddPasskey(t, k).Want(t, 201)
	if name := added.Data("passkey").(object)["name"]; name != "iCloud Keychain" {
		t.Errorf("named %q", name)
	}
	if l := a.Letter(t, p.Email, "factor_added"); !strings.Contains(l.Text, "iCloud Keychain") {
		t.Errorf("the owner is told: %s", l.Text)
	}
	id := added.Data("passkey").(object)["id"].(string)
	p.LoginByPasskey(t, a, k)
	for name, want := range map[string]int{
		"Anna\u2019s \u043a\u043b\u044e\u0447": 200, strings.Repeat("\u0451", 64): 200, "": 422, " \t": 422, strings.Repeat("x", 65): 422, "a\nb": 422, "a\u202eb": 422, "a\u2028b": 422, "<b>x</b>": 200,
	} {
		got := p.Do(t, "PATCH", "/auth/passkeys/"+id, object{"name": name}).Want(t, want)
		if want == 422 && got.Fields()["name"] != "passkey_name_invalid" {
			t.Errorf("%q: %s", name, got.Body)
		}
	}
	for range 19 {
		p.AddPasskey(t, apptest.NewAuthenticator(t, apptest.ES256)).Want(t, 201)
	}
	p.Do(t, "POST", "/auth/passkeys/options", nil).Want(t, 409, "too_many_passkeys")
}

// Without a relying party there are no passkeys, and nobody is offered any.
func TestWithoutAnAddressThereAreNoPasskeys(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: apptest.SQLiteURL(t), Policy: func(p *account.Policy) { p.PasskeyRPID, p.RequiredFactor = "", []string{"Admin"} }})
	p := a.NewPerson(t)
	for _, path := range []string{"/auth/passkeys/options", "/auth/reauthenticate/passkey-options"} {
		p.Do(t, "POST", path, nil).Want(t, 409, "passkeys_unavailable")
	}
	a.Do(t, "POST", "/auth/login/passkey/options", object{}).Want(t, 409, "passkeys_unavailable")
	a.Do(t, "POST", "/auth/login/passkey", object{"passkey": object{}}).Want(t, 409, "passkeys_unavailable")
	p.Do(t, "POST", "/auth/passkeys", object{"passkey": object{}}).Want(t, 409, "passkeys_unavailable")
	a.Do(t, "GET", "/.well-known/webauthn", nil).Want(t, 404)
	must(t, a.Service.SetRole(t.Context(), operator(), p.ID, "Admin"))
	enrol := a.Do(t, "POST", "/auth/login", loginBody(p.Username, p.Password)).Want(t, 401, "second_factor_enrolment_required")
	if got := fmt.Sprint(enrol.Data("factors")); got != "[totp]" {
		t.Errorf("offered: %s", got)
	}
	a.Do(t, "POST", "/auth/login/second-factor/enrol", object{"challenge": enrol.Text("challenge"), "factor": "passkey"}).Want(t, 409, "passkeys_unavailable")
}

// The origins come from the settings, and browsers are told of them; nothing of a
// request has a say (V17).
func TestOriginsComeFromTheSettings(t *testing.T) {
	t.Parallel()
	const app = "https://app.example.net"
	a := apptest.Start(t, apptest.Options{DatabaseURL: apptest.SQLiteURL(t), Policy: func(p *account.Policy) { p.PasskeyOrigins = append(p.PasskeyOrigins, app) }})
	got := a.Do(t, "GET", "/.well-known/webauthn", nil).Want(t, 200)
	if want := `{"origins":["` + apptest.PublicURL + `","` + app + `"]}`; string(got.Body) != want || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s", got.Header.Get("Content-Type"), got.Body)
	}
	p, k := a.NewPerson(t), apptest.NewAuthenticator(t, apptest.ES256)
	k.Origin = app
	p.AddPasskey(t, k).Want(t, 201)
	k.Origin = apptest.PublicURL
	a.LoginWithPasskey(t, k).Want(t, 200)
	for _, name := range []string{"Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Origin-Trial"} {
		options := beginLogin(t, a.With(name, "evil.example"), "")
		if !bytes.Contains(options.Body, []byte(`"rpId":"id.example.com"`)) || bytes.Contains(options.Body, []byte("evil")) {
			t.Errorf("%s: %s", name, options.Body)
		}
	}
	k.Origin = "https://evil.example"
	a.With("X-Forwarded-Host", "evil.example").LoginWithPasskey(t, k).Want(t, 401, "passkey_refused")
}

// An operator may take passkeys of certain models only.
func TestOnlyModelsOnTheListAreTaken(t *testing.T) {
	t.Parallel()
	model := [16]byte{0xee, 0x88, 0x28, 0x79, 0x72, 0x1c, 0x49, 0x13, 0x97, 0x75, 0x3d, 0xfc, 0xce, 0x97, 0x07, 0x2a}
	a := apptest.Start(t, apptest.Options{DatabaseURL: apptest.SQLiteURL(t), Policy: func(p *account.Policy) {
		p.PasskeyAAGUIDs = []string{"ee882879-721c-4913-9775-3dfcce97072a"}
	}})
	p := a.NewPerson(t)
	if options := beginAdding(t, p.Client); !bytes.Contains(options.Body, []byte(`"attestation":"direct"`)) {
		t.Errorf("no attestation is asked for: %s", options.Body)
	}
	none, other := apptest.NewAuthenticator(t, apptest.ES256), apptest.NewAuthenticator(t, apptest.ES256)
	other.AAGUID = [16]byte{1}
	for _, k := range []*apptest.Authenticator{none, other} {
		p.AddPasskey(t, k).Want(t, 422, "passkey_not_allowed")
	}
	k := apptest.NewAuthenticator(t, apptest.ES256)
	k.AAGUID = model
	k.SelfAttest(t)
	p.AddPasskey(t, k).Want(t, 201)
}

// maker makes authenticators that attest themselves by his certificate.
type maker struct {
	roots *x509.CertPool
	leaf  []byte
	key   *ecdsa.PrivateKey
}

func newMaker(t *testing.T, model [16]byte) *maker {
	t.Helper()
	make := func(c, parent *x509.Certificate, pub, signer *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &pub.PublicKey, signer)
		must(t, err)
		return der
	}
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	from, to := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Maker"}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true}
	extension, err := asn1.Marshal(model[:]) // id-fido-gen-ce-aaguid (section 8.2.1)
	must(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: to, BasicConstraintsValid: true,
		Subject:         pkix.Name{Country: []string{"DE"}, Organization: []string{"Maker"}, OrganizationalUnit: []string{"Authenticator Attestation"}, CommonName: "Model"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 45724, 1, 1, 4}, Value: extension}},
	}
	m := &maker{roots: x509.NewCertPool(), key: key, leaf: make(leaf, root, key, ca)}
	parsed, err := x509.ParseCertificate(make(root, root, ca, ca))
	must(t, err)
	m.roots.AddCert(parsed)
	return m
}

// makes gives an authenticator of his.
func (m *maker) makes(t *testing.T, model [16]byte) *apptest.Authenticator {
	t.Helper()
	k := apptest.NewAuthenticator(t, apptest.ES256)
	k.AAGUID = model
	k.Attest = func(signed []byte) (string, map[string]any) {
		sum := sha256.Sum256(signed)
		signature, err := m.key.Sign(rand.Reader, sum[:], crypto.SHA256)
		must(t, err)
		return "packed", object{"alg": apptest.ES256, "sig": signature, "x5c": []any{m.leaf}}
	}
	return k
}

// S-37, R10: with the certificates of makers (--passkey-roots), a passkey is taken
// only if its attestation leads to one of them.
func TestOnlyPasskeysOfTrustedMakersAreTaken(t *testing.T) {
	t.Parallel()
	model := [16]byte{0xee, 0x88, 0x28, 0x79, 0x72, 0x1c, 0x49, 0x13, 0x97, 0x75, 0x3d, 0xfc, 0xce, 0x97, 0x07, 0x2a}
	trusted, other := newMaker(t, model), newMaker(t, model)
	o := apptest.Options{Policy: func(p *account.Policy) { p.PasskeyRoots = trusted.roots }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		none, self, unreadable := apptest.NewAuthenticator(t, apptest.ES256), apptest.NewAuthenticator(t, apptest.ES256), trusted.makes(t, model)
		self.SelfAttest(t)
		unreadable.Statement = func(o object) { o["attStmt"].(object)["x5c"] = []any{[]byte("no certificate")} }
		forged := trusted.makes(t, model) // his certificate, and not his key
		forged.Attest = func(signed []byte) (string, map[string]any) {
			_, statement := other.makes(t, model).Attest(signed)
			statement["x5c"] = []any{trusted.leaf}
			return "packed", statement
		}
		for reason, k := range map[string]*apptest.Authenticator{
			"no certificates": none, "the attestation has no certificates": self, "no maker that is trusted": other.makes(t, model),
		} {
			wantReason(t, a, reason, func() { p.AddPasskey(t, k).Want(t, 422, "passkey_not_allowed") })
		}
		for _, k := range []*apptest.Authenticator{unreadable, forged} {
			p.AddPasskey(t, k).Want(t, 422, "passkey_refused")
		}
		if options := beginAdding(t, p.Client); !bytes.Contains(options.Body, []byte(`"attestation":"direct"`)) {
			t.Errorf("no attestation is asked for: %s", options.Body)
		}
		if n := len(passkeys(t, p)); n != 0 {
			t.Errorf("%d passkeys were added", n)
		}
		k := trusted.makes(t, model)
		p.AddPasskey(t, k).Want(t, 201)
		a.LoginWithPasskey(t, k).Want(t, 200)
		a.Clock.Move(80 * 365 * 24 * time.Hour) // its certificate has ended
		a.NewPerson(t).AddPasskey(t, trusted.makes(t, model)).Want(t, 422, "passkey_not_allowed")
	})
}

// An authenticator that others have written is understood.
func TestAForeignAuthenticatorIsUnderstood(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		party := virtualwebauthn.RelyingParty{Name: "id.example.com", ID: "id.example.com", Origin: apptest.PublicURL}
		for _, kind := range []virtualwebauthn.KeyType{virtualwebauthn.KeyTypeEC2, virtualwebauthn.KeyTypeRSA} {
			p := a.NewPerson(t)
			keeper, key := virtualwebauthn.NewAuthenticator(), virtualwebauthn.NewCredential(kind)
			inner := func(answer *apptest.Answer) string {
				b, err := json.Marshal(answer.Data("options"))
				must(t, err)
				return string(b)
			}
			creation, err := virtualwebauthn.ParseAttestationOptions(inner(beginAdding(t, p.Client)))
			must(t, err)
			keeper.Options.UserHandle = []byte(creation.UserID)
			answer := func(s string) jsontext.Value { return jsontext.Value(s) }
			p.Do(t, "POST", "/auth/passkeys", object{"passkey": answer(virtualwebauthn.CreateAttestationResponse(party, keeper, key, *creation))}).Want(t, http.StatusCreated)
			request, err := virtualwebauthn.ParseAssertionOptions(inner(beginLogin(t, a.Client, "")))
			must(t, err)
			key.Counter++
			a.Do(t, "POST", "/auth/login/passkey", object{"passkey": answer(virtualwebauthn.CreateAssertionResponse(party, keeper, key, *request))}).Want(t, 200)
		}
	})
}

// What is in the database opens nothing: of a challenge only a hash is there (V31).
func TestChallengesOfPasskeysAreNotStored(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, apptest.Options{DatabaseURL: apptest.SQLiteURL(t), Idle: true})
	challenge, _ := beginLogin(t, a.Client, "").Data("options").(object)["challenge"].(string)
	hash := sha256.Sum256([]byte(challenge))
	rows := strings.Join(direct(t, a.URL).rows(t, "tokens"), "\n")
	raw, err := base64.RawURLEncoding.DecodeString(challenge)
	must(t, err)
	for _, form := range []string{challenge, string(raw), hex.EncodeToString(raw)} {
		if strings.Contains(rows, form) {
			t.Error("the challenge is in the database")
		}
	}
	if !strings.Contains(rows, hex.EncodeToString(hash[:])) && !strings.Contains(rows, string(hash[:])) {
		t.Errorf("this test looks in the wrong place: %s", rows)
	}
}
