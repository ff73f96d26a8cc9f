package api

import (
	"propusk/internal/account"
)

func (a *API) recover(r *request, in *namedRequest) (reply, error) {
	return reply{}, a.service.AskRecovery(r.Context(), r.caller, in.EmailOrName)
}

type recoveryRequest struct {
	AnswerRequest

	NewPassword secret `json:"new_password" doc:"8 to 256 characters; common ones, and those made of the account's own data, are refused." example:"Quiet-harbour-58-Maple"`
}

func (recoveryRequest) cases() []exampleCase {
	return []exampleCase{
		{name: "link", about: "The token of the link", fields: "token new_password"},
		{name: "code", about: "The code, and whose it is", fields: "email_or_name code new_password"},
	}
}

func (a *API) confirmRecovery(r *request, in *recoveryRequest) (reply, error) {
	return reply{}, a.service.Recover(r.Context(), r.caller, account.Recovery{Answer: in.answer(), NewPassword: in.NewPassword.Secret})
}

type issuedRecovery struct {
	Token     secret `json:"token" doc:"For POST /auth/recover/confirm." example:"0F7hN3kQx2WvYbRzJ9mLsTgUcEaDiPoKnBvXtZqWyHg"`
	Link      string `json:"link,omitempty" doc:"The page that takes it, where the public URL is known." example:"https://id.example.com/account/recover?token=0F7hN3kQx2WvYbRzJ9mLsTgUcEaDiPoKnBvXtZqWyHg"`
	ExpiresAt string `json:"expires_at" format:"date-time" example:"2024-12-16T15:48:46.195517+03:00"`
}

func (a *API) issueRecovery(r *request) (reply, error) {
	token, link, expires, err := a.service.IssueRecovery(r.Context(), r.caller, r.PathValue("user_id"))
	return reply{data: issuedRecovery{Token: secret{token}, Link: link, ExpiresAt: a.time(expires)}}, err
}
