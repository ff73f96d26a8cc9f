package web

import (
	"strings"
	"time"
	"unicode"

	"propusk/internal/account"
)

// page is one path. Its words have keys that begin with its name.
type page struct {
	path, name string
	// ask has a link and a code sent; nil where that cannot be asked for here.
	ask func(v *visit, emailOrName string) error
	// codes tells that the code does what the link does. Whose it is, label asks.
	codes bool
	label string
	// password tells that a new one is set.
	password bool
	// open shows the page of a link; nil: the form with its button.
	open func(v *visit) (view, error)
	// do does what the page is about, and fills in what its end shows.
	do func(v *visit, a account.Answer, end *view) error
}

// routes is every page. The paths are those of account/notice.go.
func (s *Web) routes() []page {
	return []page{
		{path: Prefix + "/verify", name: "verify", ask: s.askVerification, codes: true, label: "name", do: s.verify},
		{path: Prefix + "/undo", name: "undo", do: s.undo},
		{path: Prefix + "/recover", name: "recover", ask: s.askRecovery, codes: true, label: "name", password: true, do: s.recover},
		{path: Prefix + "/login", name: "login", ask: s.askLogin, codes: true, label: "name", open: s.openLogin, do: s.login},
		{path: Prefix + "/register", name: "register", codes: true, label: "email", do: s.register},
	}
}

// show is what opening a page shows.
func (s *Web) show(v *visit) (view, error) {
	p := v.page
	switch {
	case v.token != "" && p.open != nil:
		return p.open(v)
	case v.token != "":
		return linkView(v), nil
	case p.ask != nil && !v.URL.Query().Has("code"):
		return askView(v, ""), nil
	case p.codes:
		return codeView(v, p.name+"_code", "", ""), nil
	}
	return notice(0, p.name+"_without"), nil
}

// do is what a form was sent for.
func (s *Web) do(v *visit) (view, error) {
	p := v.page
	name := v.form.Get("email_or_name")
	if p.ask != nil && v.token == "" && !v.form.Has("code") {
		if err := p.ask(v, name); err != nil {
			return askView(v, name), err
		}
		shown := codeView(v, p.name+"_asked", name, "")
		shown.args = map[string]string{"name": name}
		shown.links = []link{{"once_more", p.path}}
		return shown, nil
	}
	a := account.Answer{Token: account.NewSecret(v.token), EmailOrName: name}
	shown := linkView(v)
	if code := v.form.Get("code"); v.token == "" && p.codes {
		code = strings.Map(digitsOnly, code)
		a.Code = account.NewSecret(code)
		shown = codeView(v, p.name+"_code", name, code)
	}
	end := notice(0, p.name+"_done")
	end.done = true
	if err := p.do(v, a, &end); err != nil {
		return shown, err
	}
	return end, nil
}

// digitsOnly drops what people put between digits.
func digitsOnly(r rune) rune {
	if unicode.IsSpace(r) || r == '-' {
		return -1
	}
	return r
}

func askView(v *visit, name string) view {
	p := v.page
	shown := notice(0, p.name+"_ask")
	shown.form = &form{button: p.name + "_ask_button", fields: []field{nameField(p, name)}}
	shown.links = []link{{"have_code", p.path + "?code"}}
	return shown
}

func linkView(v *visit) view {
	p := v.page
	shown := notice(0, p.name+"_link")
	shown.form = &form{token: v.token, button: p.name + "_button"}
	if p.password {
		shown.form.fields = []field{passwordField()}
	}
	return shown
}

func codeView(v *visit, title, name, code string) view {
	p := v.page
	shown := notice(0, title)
	shown.form = &form{button: p.name + "_button", fields: []field{
		nameField(p, name), {name: "code", label: "code", kind: "text", autocomplete: "one-time-code", value: code},
	}}
	if p.password {
		shown.form.fields = append(shown.form.fields, passwordField())
	}
	return shown
}

func nameField(p page, value string) field {
	return field{name: "email_or_name", label: p.label, kind: "text", autocomplete: "username", value: value}
}

func passwordField() field {
	return field{name: "new_password", label: "password", hint: "password_hint", kind: "password", autocomplete: "new-password"}
}

func (s *Web) askVerification(v *visit, emailOrName string) error {
	return s.service.SendVerification(v.Context(), v.caller, account.Email, emailOrName)
}

func (s *Web) verify(v *visit, a account.Answer, end *view) error {
	done, err := s.service.VerifyEmail(v.Context(), v.caller, a)
	s.face.Note(v.Request, v.page.path, done.UserID)
	end.args = map[string]string{"email": done.Email}
	return err
}

func (s *Web) undo(v *visit, a account.Answer, _ *view) error {
	return s.service.UndoEmailChange(v.Context(), v.caller, a.Token)
}

func (s *Web) askRecovery(v *visit, emailOrName string) error {
	return s.service.AskRecovery(v.Context(), v.caller, emailOrName)
}

func (s *Web) recover(v *visit, a account.Answer, _ *view) error {
	return s.service.Recover(v.Context(), v.caller, account.Recovery{Answer: a, NewPassword: account.NewSecret(v.form.Get("new_password"))})
}

func (s *Web) askLogin(v *visit, emailOrName string) error {
	browser, lifetime, err := s.service.AskLoginCode(v.Context(), v.caller, emailOrName, account.Email)
	v.setCookie(s.face.LoginCookie(browser, lifetime))
	return err
}

// openLogin: only the browser that asked for the link is logged in by it. Whoever
// has another before him, such as that of his telephone, gets the code to type; and
// so does whoever was sent a link that a stranger has asked for, who gains nothing.
func (s *Web) openLogin(v *visit) (view, error) {
	token := account.NewSecret(v.token)
	same, err := s.service.LoginLinkIsOf(v.Context(), token, s.face.BrowserOf(v.Request))
	if err != nil {
		return view{}, err
	}
	if same {
		return linkView(v), nil
	}
	code, _ := s.service.CodeOfLink(token)
	shown := notice(0, "login_elsewhere")
	shown.text = append(shown.text, "login_elsewhere_secret", "login_elsewhere_stranger")
	shown.code = code.Reveal()
	return shown, nil
}

func (s *Web) login(v *visit, a account.Answer, _ *view) error {
	t, err := s.service.LoginWithCode(v.Context(), v.caller, account.CodeLogin{Answer: a, Browser: s.face.BrowserOf(v.Request)})
	if err != nil {
		return err
	}
	s.face.Note(v.Request, v.page.path, t.UserID)
	v.setCookie(s.face.SessionCookie(t))
	v.setCookie(s.face.DeviceCookie(t.Device))
	v.setCookie(s.face.LoginCookie(account.Secret{}, -time.Second)) // it has served
	return nil
}

func (s *Web) register(v *visit, a account.Answer, _ *view) error {
	id, err := s.service.ConfirmRegistration(v.Context(), v.caller, a)
	s.face.Note(v.Request, v.page.path, id)
	return err
}
