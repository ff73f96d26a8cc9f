package api

import (
	"net/http"
	"time"

	"propusk/internal/account"
)

// AppendSession appends the answer of GET /auth/session to b where the token's
// session is in memory; otherwise, and for every refusal, it appends nothing and
// tells false. The bytes are those that the route itself would send: it is the
// same answer by a shorter way, without reflection or a context, since services
// ask this with every request of their own.
func (a *API) AppendSession(b []byte, r *http.Request) ([]byte, bool) {
	given, err := bearer(r.Header)
	if err != nil || given == "" || r.URL.RawPath != "" { // "/auth%2Fsession" is another path
		return b, false
	}
	s, ok := a.service.Peek(account.NewSecret(given))
	if !ok {
		return b, false
	}
	// Ids and roles hold nothing that JSON would escape.
	b = append(b, `{"status":"success","data":{"session_id":"`...)
	b = append(b, s.ID...)
	b = append(b, `","user_id":"`...)
	b = append(b, s.UserID...)
	b = append(b, `","user_role":"`...)
	b = append(b, s.Role...)
	b = append(b, `","amr":["pwd"],"created":"`...)
	b = a.appendTime(b, s.CreatedAt)
	b = append(b, `","authenticated_at":"`...)
	b = a.appendTime(b, s.AuthenticatedAt)
	b = append(b, `","expires_at":"`...)
	b = a.appendTime(b, s.ExpiresAt)
	if !s.IdleExpiresAt.IsZero() {
		b = append(b, `","idle_expires_at":"`...)
		b = a.appendTime(b, s.IdleExpiresAt)
	}
	return append(b, `"}}`...), true
}

func (a *API) appendTime(b []byte, t time.Time) []byte {
	return t.In(a.zone).AppendFormat(b, timeFormat)
}
