package api

import (
	"net/http"

	"propusk/internal/account"
)

type codeSendRequest struct {
	EmailOrName string `json:"email_or_name" doc:"E-mail address or username." example:"egor228"`
	Via         string `json:"via,omitempty" enum:"email,phone" doc:"Where to: the address, unless it says phone." example:"email"`
}

type loginRequested struct {
	LoginRequest secret `json:"login_request" doc:"Send it with the token of the link. Browsers hold it in a cookie as well." example:"Zk3qT9wXbV7cYpLr2NsGfHj6MdKa8QeUi0oRtWyBxCE"`
}

func (a *API) sendLoginCode(r *request, in *codeSendRequest) (reply, error) {
	via := account.Contact(in.Via)
	if via == "" {
		via = account.Email
	}
	browser, lifetime, err := a.service.AskLoginCode(r.Context(), r.caller, in.EmailOrName, via)
	if err != nil {
		return reply{}, err
	}
	return reply{data: loginRequested{secret{browser}}, cookies: []*http.Cookie{a.LoginCookie(browser, lifetime)}}, nil
}

type codeLoginRequest struct {
	AnswerRequest

	LoginRequest secret `json:"login_request,omitzero" doc:"With the token of a link: what the call that had it sent answered; the cookie does the same." example:"Zk3qT9wXbV7cYpLr2NsGfHj6MdKa8QeUi0oRtWyBxCE"`
	RememberMe   *bool  `json:"remember_me,omitempty" doc:"A token that lives longer." example:"false"`
}

func (codeLoginRequest) cases() []exampleCase {
	return []exampleCase{
		{name: "link", about: "The token of the link, where a cookie does not hold login_request", fields: "token login_request remember_me"},
		{name: "code", about: "The code, and whose it is", fields: "email_or_name code remember_me"},
	}
}

func (a *API) loginWithCode(r *request, in *codeLoginRequest) (reply, error) {
	browser := in.LoginRequest.Secret
	if browser.Reveal() == "" {
		browser = a.BrowserOf(r.Request)
	}
	t, err := a.service.LoginWithCode(r.Context(), r.caller, account.CodeLogin{
		Answer: in.answer(), Browser: browser, RememberMe: in.RememberMe != nil && *in.RememberMe,
	})
	if err != nil {
		return reply{}, err
	}
	return a.loggedIn(t), nil
}
