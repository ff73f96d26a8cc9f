package account

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"time"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// A good login leaves a mark on the device that it came from: a name of the
// device, when it was given, since when it is trusted, and a MAC over these and the user. It proves nothing
// but that somebody has logged in to this account there before, which gives the
// device a budget of attempts of its own: strangers who guess at the account
// cannot keep its owner out. Nothing of it is stored.

// Device is the mark, for one user.
type Device struct {
	Mark     secret.Text
	Name     string // tells the marks of several users apart, and says nothing about whose it is
	Lifetime time.Duration
}

const (
	markIDSize  = len(secret.UUID{})
	markMACSize = 32
	markSize    = markIDSize + 8 + 8 + markMACSize
	// maxDeviceMarks is how many marks of one caller are looked at.
	maxDeviceMarks = 8
)

// mark is what one says.
type mark struct {
	device  secret.UUID
	known   bool      // it is one from which the account was logged in to
	trusted time.Time // since when no second factor is asked for there; zero: it is
}

func (s *Service) newDevice(now time.Time, userID string, m mark) Device {
	var trusted uint64
	if !m.trusted.IsZero() {
		trusted = uint64(db.Micros(m.trusted)) //nolint:gosec // after 1970
	}
	b := make([]byte, 0, markSize)
	b = append(b, m.device[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(db.Micros(now))) //nolint:gosec // after 1970
	b = binary.BigEndian.AppendUint64(b, trusted)
	b = append(b, s.markMAC(b, userID)...)
	return Device{
		Mark:     secret.NewText(base64.RawURLEncoding.EncodeToString(b)),
		Name:     hex.EncodeToString(s.keys.MAC("device name", []byte(userID))[:6]),
		Lifetime: s.policy.DeviceLifetime,
	}
}

func (s *Service) markMAC(mark []byte, userID string) []byte {
	return s.keys.MAC("device", append(append(make([]byte, 0, markSize+36), mark...), userID...))
}

// MayBeMark tells whether a text has the length of a mark.
func MayBeMark(text string) bool { return len(text) == base64.RawURLEncoding.EncodedLen(markSize) }

// knownDevice finds the mark of the account among those that came along.
func (s *Service) knownDevice(now time.Time, account string, marks []secret.Text) mark {
	for _, m := range marks[:min(len(marks), maxDeviceMarks)] {
		text := m.Reveal()
		if !MayBeMark(text) {
			continue
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil {
			continue
		}
		signed, mac := b[:markSize-markMACSize], b[markSize-markMACSize:]
		if !hmac.Equal(mac, s.markMAC(signed, account)) {
			continue
		}
		age := now.Sub(db.Time(int64(binary.BigEndian.Uint64(signed[markIDSize:])))) //nolint:gosec // we wrote it
		if age < s.policy.DeviceLifetime {
			found := mark{device: secret.UUID(signed[:markIDSize]), known: true}
			if trusted := int64(binary.BigEndian.Uint64(signed[markIDSize+8:])); trusted > 0 { //nolint:gosec // we wrote it
				found.trusted = db.Time(trusted)
			}
			return found
		}
	}
	return mark{}
}
