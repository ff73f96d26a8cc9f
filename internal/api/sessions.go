package api

import (
	"net/http"

	"propusk/internal/account"
)

type loginRequest struct {
	EmailOrName string `json:"email_or_name" doc:"E-mail address or username; the one with an @ is an address." example:"egor228"`
	Password    secret `json:"password" example:"corAl-Teapot-93-lantern"`
	RememberMe  *bool  `json:"remember_me,omitempty" doc:"A token that lives longer." example:"false"`
}

// TokenData is a new token.
type TokenData struct {
	Token       secret `json:"token" format:"uuid" doc:"Send it as \"Authorization: Bearer <token>\"." example:"eeee1234-76a9-4509-87f0-e1b12354d92b"`
	TokenExpiry int64  `json:"token-expiry" doc:"The token's lifetime in seconds." example:"86400"`
	ExpiresAt   string `json:"expires_at" format:"date-time" example:"2024-12-16T15:48:46.195517+03:00"`
	UserID      string `json:"user_id" format:"uuid" example:"e5f8433e-76a9-4509-87f0-e1b12354d92b"`
}

func (a *API) token(t account.Token) reply {
	return reply{data: TokenData{
		Token: secret{t.Token}, TokenExpiry: int64(t.Lifetime.Seconds()), ExpiresAt: a.time(t.ExpiresAt), UserID: t.UserID,
	}}
}

func (a *API) login(r *request, in *loginRequest) (reply, error) {
	t, err := a.service.Login(r.Context(), r.caller, account.Login{
		EmailOrName: in.EmailOrName, Password: in.Password.Secret, RememberMe: in.RememberMe != nil && *in.RememberMe,
	})
	if err != nil {
		return reply{}, err
	}
	return a.loggedIn(t), nil
}

// loggedIn is the answer of every login.
func (a *API) loggedIn(t account.Token) reply {
	rep := a.token(t)
	rep.header = map[string]string{deviceHeader: t.Device.Mark.Reveal()}
	rep.cookies = []*http.Cookie{a.DeviceCookie(t.Device)}
	return rep
}

// renewed is the answer of what gives the session of the request a new token. A
// browser that sent the old one in its cookie gets the new one there.
func (a *API) renewed(r *request, t account.Token, err error) (reply, error) {
	rep := a.token(t)
	if r.cookie {
		rep.cookies = []*http.Cookie{a.SessionCookie(t)}
	}
	return rep, err
}

type sessionData struct {
	SessionID       string   `json:"session_id" format:"uuid" example:"0f8fad5b-d9cb-469f-a165-70867728950e"`
	UserID          string   `json:"user_id" format:"uuid" example:"e5f8433e-76a9-4509-87f0-e1b12354d92b"`
	UserRole        string   `json:"user_role" example:"Verified"`
	AMR             []string `json:"amr" nullable:"false" doc:"How its owner proved himself (RFC 8176)." example:"[\"pwd\"]"`
	ACR             string   `json:"acr" enum:"aal1,aal2" doc:"How strong that is: aal2 is two factors." example:"aal1"`
	Created         string   `json:"created" format:"date-time" example:"2024-12-15T15:48:46.195517+03:00"`
	AuthenticatedAt string   `json:"authenticated_at" format:"date-time" doc:"The last proof of identity." example:"2024-12-15T15:48:46.195517+03:00"`
	StrongAt        *string  `json:"second_factor_at,omitempty" format:"date-time" doc:"The last proof with a second factor, where there was one." example:"2024-12-15T15:48:46.195517+03:00"`
	ExpiresAt       string   `json:"expires_at" format:"date-time" example:"2024-12-16T15:48:46.195517+03:00"`
	IdleExpiresAt   *string  `json:"idle_expires_at,omitempty" format:"date-time" doc:"Where there is an idle limit: when it ends if not used before." example:"2024-12-15T22:01:34.382072+03:00"`
}

func (sessionData) cases() []exampleCase {
	const always = "session_id user_id user_role amr acr created authenticated_at expires_at"
	return []exampleCase{
		{name: "one_factor", about: "Begun with a password", fields: always},
		{name: "two_factors", about: "Begun with a password and an authenticator app", fields: always + " second_factor_at idle_expires_at",
			with: map[string]any{"amr": (account.ByPassword | account.ByTOTP).Names(), "acr": "aal2"}},
	}
}

func (a *API) session(r *request) (reply, error) {
	s := r.session
	d := sessionData{
		SessionID: s.ID, UserID: s.UserID, UserRole: s.Role, AMR: s.Methods.Names(), ACR: s.Methods.Level(), Created: a.time(s.CreatedAt),
		AuthenticatedAt: a.time(s.AuthenticatedAt), ExpiresAt: a.time(s.ExpiresAt),
	}
	d.StrongAt, d.IdleExpiresAt = a.optionalTime(s.StrongAt), a.optionalTime(s.IdleExpiresAt)
	return reply{data: d}, nil
}

func (a *API) logout(r *request) (reply, error) {
	rep := reply{}
	if r.cookie {
		gone := a.SessionCookie(account.Token{}) //nolint:gosec // it is made as every cookie of ours
		gone.MaxAge = -1
		rep.cookies = []*http.Cookie{gone}
	}
	return rep, a.service.Logout(r.Context(), r.caller)
}

type sessionItem struct {
	ID         string `json:"id" format:"uuid" example:"0f8fad5b-d9cb-469f-a165-70867728950e"`
	Current    bool   `json:"current" doc:"The session that asks." example:"true"`
	Created    string `json:"created" format:"date-time" example:"2024-12-15T15:48:46.195517+03:00"`
	LastSeenAt string `json:"last_seen_at" format:"date-time" example:"2024-12-15T21:01:34.382072+03:00"`
	ExpiresAt  string `json:"expires_at" format:"date-time" example:"2024-12-16T15:48:46.195517+03:00"`
	IP         string `json:"ip" doc:"Where it was begun." example:"192.0.2.7"`
	UserAgent  string `json:"user_agent" doc:"What it was begun with." example:"curl/8.5.0"`
}

type sessionList struct {
	Sessions []sessionItem `json:"sessions" nullable:"false" doc:"The newest first."`
}

func (a *API) sessions(r *request) (reply, error) {
	list, err := a.service.Sessions(r.Context(), r.caller)
	out := sessionList{Sessions: []sessionItem{}}
	for _, s := range list {
		out.Sessions = append(out.Sessions, sessionItem{
			ID: s.ID, Current: s.ID == r.caller.SessionID, Created: a.time(s.CreatedAt), LastSeenAt: a.time(s.LastSeenAt),
			ExpiresAt: a.time(s.ExpiresAt), IP: s.IP, UserAgent: s.UserAgent,
		})
	}
	return reply{data: out}, err
}

func (a *API) endSession(r *request) (reply, error) {
	return reply{}, a.service.EndSession(r.Context(), r.caller, r.PathValue("session_id"))
}

type ended struct {
	Ended int64 `json:"ended" doc:"How many sessions were ended." example:"2"`
}

func (a *API) endOtherSessions(r *request) (reply, error) {
	n, err := a.service.EndOtherSessions(r.Context(), r.caller)
	return reply{data: ended{Ended: n}}, err
}

type reauthenticateRequest struct {
	Password secret        `json:"password,omitzero" doc:"The present password." example:"corAl-Teapot-93-lantern"`
	Code     secret        `json:"code,omitzero" doc:"Or a code of the authenticator app, or a recovery code." example:"123456"`
	Passkey  passkeyAnswer `json:"passkey,omitzero" doc:"Or the answer of a passkey: PublicKeyCredential.toJSON()."`
}

func (reauthenticateRequest) cases() []exampleCase {
	return []exampleCase{
		{name: "password", about: "The password, where there is no second factor", fields: "password"},
		{name: "app", about: "A code of the authenticator app", fields: "code"},
		{name: "recovery_code", about: "A recovery code", fields: "code", with: map[string]any{"code": aRecoveryCode}},
		{name: "passkey", about: "The answer of a passkey", fields: "passkey"},
	}
}

func (a *API) reauthenticate(r *request, in *reauthenticateRequest) (reply, error) {
	t, err := a.service.Reauthenticate(r.Context(), r.caller, account.ProofAgain{
		Password: in.Password.Secret, Code: in.Code.Secret, Passkey: in.Passkey.Value,
	})
	return a.renewed(r, t, err)
}

type passwordRequest struct {
	CurrentPassword secret `json:"current_password" example:"corAl-Teapot-93-lantern"`
	NewPassword     secret `json:"new_password" doc:"8 to 256 characters; common ones, and those made of the account's own data, are refused." example:"Quiet-harbour-58-Maple"`
}

func (a *API) changePassword(r *request, in *passwordRequest) (reply, error) {
	t, err := a.service.ChangePassword(r.Context(), r.caller, account.PasswordChange{
		Current: in.CurrentPassword.Secret, New: in.NewPassword.Secret,
	})
	return a.renewed(r, t, err)
}
