package api

import (
	"net/http"

	"propusk/internal/account"
)

// route is one call: how it is reached, what stands behind it, and what the
// OpenAPI document says of it.
type route struct {
	method       string
	paths        []string // the first is the one to use; the others are the seed's
	access       access
	handle       handlerFunc
	status       int  // of success
	quiet        bool // a success is not logged, only counted
	oauth        bool // the body is a form, the answer and its errors are those of the OAuth RFCs
	bodyless     bool // the answer has no body
	later        bool // or, with 202, what is asked for happens later
	id           string
	tag          string
	summary      string
	about        string
	in           any            // zero value of the body's type; nil: no body
	out          any            // zero value of the data's type; nil: no data
	headers      []string       // of the request
	query        []string       // parameters
	unauthorized []account.Code // refusals with 401 that the document shows
	refuses      []int          // statuses of refusals beside those that every such route has
	answers      []string       // headers of the answer
}

// routes is every route of the JSON face.
func (a *API) routes() []route {
	const ok, created = http.StatusOK, http.StatusCreated
	return []route{
		{
			method: "POST", paths: []string{"/auth/register", "/register"}, access: public, handle: body(a.register), status: created,
			id: "register", tag: "account", summary: "Register a user",
			about: "Makes an account and gives its id. With an `Idempotency-Key`, a request that is repeated within 24 hours, " +
				"because its answer was lost, gives the same id and makes no second account. Where the service is set to verify first, the answer is 202 " +
				"whether or not somebody has the address, and there is an account once the mail is answered.", later: true,
			in: registerRequest{}, out: registered{}, headers: []string{"Idempotency-Key"}, refuses: []int{403, 409, 429},
			answers: []string{"Location", "Idempotent-Replayed"},
		}, {
			method: "POST", paths: []string{"/auth/login", "/login"}, access: public, handle: body(a.login), status: ok,
			id: "login", tag: "session", summary: "Log in",
			about: "Takes an e-mail address or a username with the password and gives a token. An unknown name, a wrong password " +
				"and a disabled account get the same answer. A success makes the device known to the account, by a cookie and by the header " +
				"`X-Device-Token`, either of which may be sent back: from there its owner can log in whatever strangers do.",
			in: loginRequest{}, out: TokenData{}, headers: []string{deviceHeader}, refuses: []int{401, 429}, answers: []string{deviceHeader, "Set-Cookie"},
			unauthorized: []account.Code{account.CodeInvalidCredentials, account.CodeSecondFactorRequired, account.CodeSecondFactorEnrolment},
		}, {
			method: "POST", paths: []string{"/auth/register/confirm"}, access: public, handle: body(a.confirmRegistration), status: created,
			id: "confirmRegistration", tag: "account", summary: "Finish a registration",
			about: "Takes the token of the link, or the address and the code, from the mail that a registration was answered with where the service is set to verify first. " +
				"The code is good for ten minutes, for the newest registration of the address; the link for 24 hours. Five codes may be tried in ten minutes; a new code gives no new tries.",
			in: AnswerRequest{}, out: registered{}, refuses: []int{401, 403, 409, 429}, answers: []string{"Location"},
		}, {
			method: "POST", paths: []string{"/auth/login/code/send"}, access: public, handle: body(a.sendLoginCode), status: http.StatusAccepted,
			id: "sendLoginCode", tag: "session", summary: "Have a code sent to log in with",
			about: "By mail, with a link beside it, or by SMS, where the address or number is proven. The answer is the same whether or not there is such a user. " +
				"The link logs in only the browser that asked: it holds `login_request` in a cookie.",
			in: codeSendRequest{}, out: loginRequested{}, headers: []string{deviceHeader}, refuses: []int{429}, answers: []string{"Set-Cookie"},
		}, {
			method: "POST", paths: []string{"/auth/login/code"}, access: public, handle: body(a.loginWithCode), status: ok,
			id: "loginWithCode", tag: "session", summary: "Log in with a code or a link",
			about: "Takes the name and the code, or the token of the link together with `login_request`. Five codes may be tried in ten minutes; a new code gives no new tries.",
			in:    codeLoginRequest{}, out: TokenData{}, headers: []string{deviceHeader}, refuses: []int{401, 403, 429}, answers: []string{deviceHeader, "Set-Cookie"},
			unauthorized: []account.Code{account.CodeWrongCode, account.CodeLinkInvalid, account.CodeSecondFactorRequired, account.CodeSecondFactorEnrolment},
		}, {
			method: "POST", paths: []string{"/auth/recover"}, access: public, handle: body(a.recover), status: http.StatusAccepted,
			id: "recover", tag: "account", summary: "Have a link sent to set a new password with",
			about: "The answer is the same, and takes the same time, whether or not there is such a user.",
			in:    namedRequest{}, headers: []string{deviceHeader}, refuses: []int{429},
		}, {
			method: "POST", paths: []string{"/auth/recover/confirm"}, access: public, handle: body(a.confirmRecovery), status: ok,
			id: "confirmRecovery", tag: "account", summary: "Set a new password",
			about: "Takes the token of the link, or the name and the code. Every session, every other link and every waiting change of the address ends. It logs nobody in.",
			in:    recoveryRequest{}, headers: []string{deviceHeader}, refuses: []int{401, 429},
		}, {
			method: "POST", paths: []string{"/auth/verify/email/send"}, access: optional, handle: body(a.sendEmailVerification), status: http.StatusAccepted,
			id: "sendEmailVerification", tag: "account", summary: "Have a link sent to prove the e-mail address",
			about: "With a token: to the caller's own address, or to the one that is to replace it. Without: to that of the user who is named; the answer is the same whether or not there is one.",
			in:    optionalNameRequest{}, headers: []string{deviceHeader}, refuses: []int{409, 429},
		}, {
			method: "POST", paths: []string{"/auth/verify/email"}, access: optional, handle: body(a.verifyEmail), status: ok,
			id: "verifyEmail", tag: "account", summary: "Prove the e-mail address",
			about: "Takes the token of the link, or the code: for the caller's own account, or for the one that is named. `Not_Verifyed` becomes `Verified`. " +
				"The code is good for ten minutes, the link for 24 hours. Five codes may be tried in ten minutes, from all devices and sessions together; a new code gives no new tries.",
			in: AnswerRequest{}, out: verified{}, headers: []string{deviceHeader}, refuses: []int{409, 429},
		}, {
			method: "POST", paths: []string{"/auth/verify/email/undo"}, access: public, handle: body(a.undoEmailChange), status: ok,
			id: "undoEmailChange", tag: "account", summary: "Take a change of the e-mail address back",
			about: "With the token of the link that the old address was sent, within 72 hours. The old address is back; every session, the password, and the second factors and passkeys that were added since the change end, and a link to set a new password is sent to it.",
			in:    linkRequest{}, refuses: []int{401, 409},
		}, {
			method: "POST", paths: []string{"/auth/verify/phone/send"}, access: token, handle: a.sendPhoneVerification, status: http.StatusAccepted,
			id: "sendPhoneVerification", tag: "account", summary: "Have a code sent to prove the phone number",
			about: "The number that the account has. The answer to POST /auth/verify/phone proves it.", headers: []string{deviceHeader}, refuses: []int{409, 429},
		}, {
			method: "POST", paths: []string{"/auth/verify/phone"}, access: token, handle: body(a.verifyPhone), status: ok,
			id: "verifyPhone", tag: "account", summary: "Prove the phone number",
			about: "`Not_Verifyed` becomes `Verified`. A proven number has one owner. " +
				"Five codes may be tried in ten minutes, from all devices and sessions together; a new code gives no new tries.",
			in: codeRequest{}, headers: []string{deviceHeader}, refuses: []int{409, 429},
		}, {
			method: "POST", paths: []string{"/auth/login/second-factor"}, access: public, handle: body(a.finishLogin), status: ok,
			id: "finishLogin", tag: "session", summary: "Finish a login with a second factor",
			about: "A login that needs one is refused with 401, the code `second_factor_required`, a challenge and the factors that will do. This takes the challenge " +
				"with a code of the authenticator app, a recovery code, or the answer of a passkey. A wrong one leaves the challenge as it is; five may be tried in ten minutes.",
			in: secondFactorRequest{}, out: finishedLogin{}, headers: []string{deviceHeader}, refuses: []int{401, 429}, answers: []string{deviceHeader, "Set-Cookie"},
			unauthorized: []account.Code{account.CodeWrongCode, account.CodeChallengeInvalid},
		}, {
			method: "POST", paths: []string{"/auth/login/second-factor/enrol"}, access: public, handle: body(a.enrolAtLogin), status: ok,
			id: "enrolAtLogin", tag: "session", summary: "Add the second factor that a login needs",
			about: "Where an account must have a second factor and has none, its login is refused with 401, the code `second_factor_enrolment_required` and a challenge. " +
				"This gives the seed for an authenticator app, or the options for a passkey; the first code or answer finishes the login.",
			in: enrolRequest{}, out: enrolment{}, refuses: []int{401, 409},
		}, {
			method: "POST", paths: []string{"/auth/login/second-factor/passkey-options"}, access: public, handle: body(a.passkeyFactorOptions), status: ok,
			id: "getPasskeyFactorOptions", tag: "session", summary: "Begin to finish a login with a passkey",
			about: "Gives the options for the browser, whose answer goes to POST /auth/login/second-factor together with the same challenge.",
			in:    challengeRequest{}, out: passkeyOptions{}, refuses: []int{401, 404, 409},
		}, {
			method: "POST", paths: []string{"/auth/login/passkey/options"}, access: public, handle: body(a.passkeyLoginOptions), status: ok,
			id: "getPasskeyLoginOptions", tag: "session", summary: "Begin to log in with a passkey",
			about: "Gives the options for the browser. They are the same for every name and without one; where somebody is named, only he can answer. " +
				"Pages that offer passkeys in the autofill of a field ask for them when they are opened, and pass `mediation: \"conditional\"`.",
			in: optionalNameRequest{}, out: passkeyOptions{}, refuses: []int{409, 429},
		}, {
			method: "POST", paths: []string{"/auth/login/passkey"}, access: public, handle: body(a.loginWithPasskey), status: ok,
			id: "loginWithPasskey", tag: "session", summary: "Log in with a passkey",
			about: "Takes the browser's answer to these options. A passkey that has verified its user, by a PIN, a finger or a face, stands for both factors; one that has not is refused. " +
				"No attempts of strangers can close it.",
			in: passkeyLoginRequest{}, out: TokenData{}, headers: []string{deviceHeader}, refuses: []int{401, 403, 409}, answers: []string{deviceHeader, "Set-Cookie"},
		}, {
			method: "POST", paths: []string{"/auth/passkeys/options"}, access: token, handle: a.beginPasskey, status: ok,
			id: "getPasskeyOptions", tag: "second factor", summary: "Begin to add a passkey",
			about: "Gives the options for the browser. Needs a proof of identity that is at most 15 minutes old, by a second factor where there is one.",
			out:   newPasskeyOptions{}, refuses: []int{409},
		}, {
			method: "POST", paths: []string{"/auth/passkeys"}, access: token, handle: body(a.addPasskey), status: created,
			id: "addPasskey", tag: "second factor", summary: "Add a passkey",
			about: "Takes the browser's answer to these options. Every other session of the account ends. The first factor comes with recovery codes.",
			in:    addPasskeyRequest{}, out: passkeyAdded{}, refuses: []int{409},
		}, {
			method: "GET", paths: []string{"/auth/passkeys"}, access: token, handle: a.passkeys, status: ok,
			id: "listPasskeys", tag: "second factor", summary: "List one's passkeys", about: "At most twenty.", out: passkeyList{},
		}, {
			method: "PATCH", paths: []string{"/auth/passkeys/{passkey_id}"}, access: token, handle: body(a.renamePasskey), status: ok,
			id: "renamePasskey", tag: "second factor", summary: "Rename a passkey", about: "Only its owner sees the name.", in: renamePasskeyRequest{}, refuses: []int{404},
		}, {
			method: "DELETE", paths: []string{"/auth/passkeys/{passkey_id}"}, access: token, handle: a.removePasskey, status: ok,
			id: "removePasskey", tag: "second factor", summary: "Remove a passkey", about: "Every other session of the account ends.", refuses: []int{404, 409},
		}, {
			method: "GET", paths: []string{"/auth/factors"}, access: token, handle: a.factors, status: ok,
			id: "listFactors", tag: "second factor", summary: "List one's second factors", out: factorList{},
		}, {
			method: "POST", paths: []string{"/auth/factors/totp"}, access: token, handle: a.enrolTOTP, status: ok,
			id: "enrolTOTP", tag: "second factor", summary: "Begin to add an authenticator app",
			about: "Gives a seed. It counts once its first code was confirmed. Needs a proof of identity that is at most 15 minutes old, by a second factor where there is one.",
			out:   totpSeed{}, refuses: []int{409},
		}, {
			method: "POST", paths: []string{"/auth/factors/totp/confirm"}, access: token, handle: body(a.confirmTOTP), status: ok,
			id: "confirmTOTP", tag: "second factor", summary: "Add the authenticator app",
			about: "Takes its first code. Every other session of the account ends. The first factor comes with recovery codes.",
			in:    codeRequest{}, out: FactorAdded{}, headers: []string{deviceHeader}, refuses: []int{409, 429},
		}, {
			method: "DELETE", paths: []string{"/auth/factors/totp"}, access: token, handle: a.removeTOTP, status: ok,
			id: "removeTOTP", tag: "second factor", summary: "Remove the authenticator app", about: "Every other session of the account ends.", refuses: []int{404, 409},
		}, {
			method: "POST", paths: []string{"/auth/factors/recovery-codes"}, access: token, handle: a.newRecoveryCodes, status: ok,
			id: "newRecoveryCodes", tag: "second factor", summary: "Make new recovery codes", about: "The old ones are worth nothing any more. Every other session of the account ends.",
			out: recoveryCodeList{}, refuses: []int{409},
		}, {
			method: "GET", paths: []string{"/admin/users/{user_id}/factors"}, access: token, handle: a.factorsOfUser, status: ok,
			id: "listFactorsOfUser", tag: "administration", summary: "List the second factors of a user", out: factorList{}, refuses: []int{404},
		}, {
			method: "DELETE", paths: []string{"/admin/users/{user_id}/factors"}, access: token, handle: a.removeFactorsOfUser, status: ok,
			id: "removeFactorsOfUser", tag: "administration", summary: "Remove the second factors of a user who has lost them",
			about: "For an Admin who has proven himself within the last 15 minutes; not on another Admin. The user is told, and every session of his ends.", refuses: []int{404},
		}, {
			method: "POST", paths: []string{"/admin/users/{user_id}/recovery"}, access: token, handle: a.issueRecovery, status: created,
			id: "issueRecovery", tag: "administration", summary: "Make a link for a user who cannot be written to",
			about: "For an Admin who has proven himself within the last 15 minutes: a token to set a new password with, once, within 24 hours. Hand it over in person.",
			out:   issuedRecovery{}, refuses: []int{404},
		}, {
			method: "GET", paths: []string{"/auth/session"}, access: token, handle: a.session, status: ok, quiet: true,
			id: "getSession", tag: "session", summary: "Check a token",
			about: "Whose token this is, since when, how its owner proved himself, and until when it lives.",
			out:   sessionData{},
		}, {
			method: "POST", paths: []string{"/auth/logout"}, access: token, handle: a.logout, status: ok,
			id: "logout", tag: "session", summary: "Log out", about: "Ends the session of the token. From the answer on, the token is worth nothing.",
		}, {
			method: "GET", paths: []string{"/auth/sessions"}, access: token, handle: a.sessions, status: ok,
			id: "listSessions", tag: "session", summary: "List one's sessions", about: "Every live session of the token's owner.", out: sessionList{},
		}, {
			method: "DELETE", paths: []string{"/auth/sessions"}, access: token, handle: a.endOtherSessions, status: ok,
			id: "endOtherSessions", tag: "session", summary: "End all other sessions", about: "Every session of the owner ends but the one that asks.", out: ended{},
		}, {
			method: "DELETE", paths: []string{"/auth/sessions/{session_id}"}, access: token, handle: a.endSession, status: ok,
			id: "endSession", tag: "session", summary: "End one session", about: "One of the owner's own sessions, by its id.", refuses: []int{404},
		}, {
			method: "POST", paths: []string{"/auth/reauthenticate"}, access: token, handle: body(a.reauthenticate), status: ok,
			id: "reauthenticate", tag: "session", summary: "Prove again who one is",
			about: "Takes the password, a code of a second factor or the answer of a passkey, which counts for 15 minutes for what needs a recent proof. The session gets a new token; the old one ends.",
			in:    reauthenticateRequest{}, out: TokenData{}, headers: []string{deviceHeader}, refuses: []int{403, 429},
		}, {
			method: "POST", paths: []string{"/auth/reauthenticate/passkey-options"}, access: token, handle: a.passkeyAgainOptions, status: ok,
			id: "getPasskeyAgainOptions", tag: "session", summary: "Begin to prove again who one is, with a passkey",
			about: "Gives the options for the browser, whose answer goes to POST /auth/reauthenticate.",
			out:   passkeyOptions{}, refuses: []int{404, 409},
		}, {
			method: "POST", paths: []string{"/auth/password"}, access: token, handle: body(a.changePassword), status: ok,
			id: "changePassword", tag: "account", summary: "Change the password",
			about: "Every other session ends. The session that asks gets a new token; its old one ends.",
			in:    passwordRequest{}, out: TokenData{}, headers: []string{deviceHeader}, refuses: []int{403, 429},
		}, {
			method: "GET", paths: []string{"/{user_id}"}, access: tokenOrNetwork, handle: a.readUser, status: ok,
			id: "getUser", tag: "account", summary: "Read a user",
			about: "A user reads himself, an Admin anyone. To everyone else another user's id looks like one that does not exist.",
			out:   userData{}, refuses: []int{404}, answers: []string{"ETag"},
		}, {
			method: "PUT", paths: []string{"/{user_id}"}, access: tokenOrNetwork, handle: body(a.replaceUser), status: ok,
			id: "replaceUser", tag: "account", summary: "Change a user",
			about: "Takes the document of register. The read-only fields may come along if they equal the present values, so that what was read can be written back.",
			in:    replaceRequest{}, headers: []string{"If-Match", deviceHeader}, refuses: []int{403, 404, 409, 412, 429},
		}, {
			method: "PATCH", paths: []string{"/{user_id}"}, access: token, handle: body(a.patchUser), status: ok,
			id: "patchUser", tag: "account", summary: "Change single fields of a user", about: "A JSON merge patch (RFC 7396).",
			in: patchRequest{}, headers: []string{"If-Match", deviceHeader}, refuses: []int{403, 404, 409, 412, 429},
		}, {
			method: "DELETE", paths: []string{"/{user_id}"}, access: token, handle: a.deleteUser, status: ok,
			id: "deleteUser", tag: "account", summary: "Delete a user",
			about:   "Erases the account, its sessions and everything else of it. Needs a proof of identity that is at most 15 minutes old.",
			headers: []string{"If-Match"}, refuses: []int{403, 404, 412},
		}, {
			method: "GET", paths: []string{forwardPath}, access: token, status: ok, bodyless: true, // handle: see mount
			id: "forward", tag: "service", summary: "Let a gateway ask about a request",
			about: "For nginx (auth_request), Traefik, Caddy, HAProxy and Envoy: 200 with the identity in headers and no body, 401 without a good token, 403 with another role, " +
				"503 where it cannot be known: never one for the other. Every method is taken, also on paths below, where the query is the client's own and not looked at.",
			query: []string{"role"}, refuses: []int{403}, answers: []string{"X-User-Id", "X-User-Role", "X-Session-Id", "Cache-Control"},
		}, {
			method: "POST", paths: []string{"/oauth/introspect"}, access: serviceKey, handle: a.introspect, status: ok, quiet: true, oauth: true,
			id: "introspect", tag: "service", summary: "Tell a service about a token",
			about: "OAuth 2.0 token introspection (RFC 7662). Needs the key of a service with the scope introspect (`propusk key add`), as a bearer token, or by Basic authentication with the key's id or name.",
			in:    tokenForm{}, out: introspection{}, refuses: []int{403},
		}, {
			method: "POST", paths: []string{"/oauth/revoke"}, access: serviceKey, handle: a.revokeToken, status: ok, oauth: true,
			id: "revokeToken", tag: "service", summary: "End the session of a token",
			about: "OAuth 2.0 token revocation (RFC 7009), with the same key. A token that is worth nothing already is no error.",
			in:    tokenForm{}, refuses: []int{403},
		}, {
			method: "GET", paths: []string{relatedOriginsPath}, access: public, status: ok, // handle: see mount
			id: "relatedOrigins", tag: "operation", summary: "The origins whose pages may use the passkeys",
			about: "For browsers (WebAuthn level 3, section 5.11), where there is more than one of them.", out: relatedOrigins{}, refuses: []int{404},
		}, {
			method: "GET", paths: []string{"/healthz"}, access: public, handle: a.health, status: ok, quiet: true,
			id: "healthz", tag: "operation", summary: "The process lives", about: "Says nothing of what it depends on.",
		}, {
			method: "GET", paths: []string{"/readyz"}, access: public, handle: a.readiness, status: ok, quiet: true,
			id: "readyz", tag: "operation", summary: "The service can serve", about: "503 while it is stopping, or while its database does not answer.",
		}, {
			method: "GET", paths: []string{"/openapi.json"}, access: public, status: ok, // handle: see mount
			id: "openapi", tag: "operation", summary: "This description", about: "The OpenAPI 3.1 document of this API. People find it as a page at /docs.",
		},
	}
}

func (a *API) health(*request) (reply, error) { return reply{}, nil }

func (a *API) readiness(r *request) (reply, error) {
	if a.ready != nil {
		if err := a.ready(r.Context()); err != nil {
			return reply{}, err
		}
	}
	return reply{}, nil
}

// Document is the OpenAPI document.
func (a *API) Document() []byte { return a.document() }
