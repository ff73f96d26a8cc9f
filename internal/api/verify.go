package api

import (
	"propusk/internal/account"
)

// AnswerRequest is what somebody brings back who was sent a mail.
type AnswerRequest struct {
	Token       secret `json:"token,omitzero" doc:"Of the link." example:"0F7hN3kQx2WvYbRzJ9mLsTgUcEaDiPoKnBvXtZqWyHg"`
	EmailOrName string `json:"email_or_name,omitempty" doc:"With a code: whose it is." example:"egor228"`
	Code        secret `json:"code,omitzero" doc:"Six digits, in the place of the token." example:"123456"`
}

func (AnswerRequest) cases() []exampleCase {
	return []exampleCase{
		{name: "link", about: "The token of the link", fields: "token"},
		{name: "code", about: "The code, and whose it is", fields: "email_or_name code"},
	}
}

func (in AnswerRequest) answer() account.Answer {
	return account.Answer{Token: in.Token.Secret, EmailOrName: in.EmailOrName, Code: in.Code.Secret}
}

type namedRequest struct {
	EmailOrName string `json:"email_or_name" doc:"E-mail address or username." example:"egor228"`
}

type optionalNameRequest struct {
	EmailOrName string `json:"email_or_name,omitempty" doc:"Whose address is to be proven; needed where no token comes along." example:"egor228"`
}

func (optionalNameRequest) cases() []exampleCase {
	return []exampleCase{
		{name: "named", about: "Somebody is named", fields: "email_or_name"},
		{name: "nobody", about: "Nobody is named", fields: ""},
	}
}

type linkRequest struct {
	Token secret `json:"token" doc:"Of the link." example:"0F7hN3kQx2WvYbRzJ9mLsTgUcEaDiPoKnBvXtZqWyHg"`
}

type codeRequest struct {
	Code secret `json:"code" doc:"Six digits." example:"123456"`
}

type verified struct {
	UserID string `json:"user_id" format:"uuid" example:"e5f8433e-76a9-4509-87f0-e1b12354d92b"`
	Email  string `json:"email" doc:"The address that is proven now." example:"citymodz@yandex.com"`
}

func (a *API) sendEmailVerification(r *request, in *optionalNameRequest) (reply, error) {
	return reply{}, a.service.SendVerification(r.Context(), r.caller, account.Email, in.EmailOrName)
}

func (a *API) sendPhoneVerification(r *request) (reply, error) {
	return reply{}, a.service.SendVerification(r.Context(), r.caller, account.Phone, "")
}

func (a *API) verifyEmail(r *request, in *AnswerRequest) (reply, error) {
	v, err := a.service.VerifyEmail(r.Context(), r.caller, in.answer())
	return reply{data: verified{UserID: v.UserID, Email: v.Email}}, err
}

func (a *API) undoEmailChange(r *request, in *linkRequest) (reply, error) {
	return reply{}, a.service.UndoEmailChange(r.Context(), r.caller, in.Token.Secret)
}

func (a *API) verifyPhone(r *request, in *codeRequest) (reply, error) {
	return reply{}, a.service.VerifyPhone(r.Context(), r.caller, in.Code.Secret)
}

func (a *API) confirmRegistration(r *request, in *AnswerRequest) (reply, error) {
	id, err := a.service.ConfirmRegistration(r.Context(), r.caller, in.answer())
	return reply{data: registered{UserID: id}, header: map[string]string{"Location": "/" + id}}, err
}
