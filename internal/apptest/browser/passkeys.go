package browser

import (
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// Keeper is a virtual authenticator, which keeps the passkeys of a tab.
type Keeper struct {
	tab *Tab
	id  webauthn.AuthenticatorID
}

// noteAsking writes down how a page asks for passkeys, before its first script runs.
const noteAsking = `
globalThis.passkeysAsked = []
if (globalThis.CredentialsContainer) {
	const get = CredentialsContainer.prototype.get
	CredentialsContainer.prototype.get = function (options) {
		passkeysAsked.push(options.mediation ?? "optional")
		return get.call(this, options)
	}
}`

// KeepPasskeys gives the tab an authenticator. It says yes to everything, to an
// offer in a field as well as to a question. Pages that are open already are not
// watched: see [Keeper.Asked].
func (tab *Tab) KeepPasskeys() *Keeper {
	tab.t.Helper()
	call(tab, webauthn.Enable, webauthn.EnableParams{})
	call(tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: noteAsking})
	r := call(tab, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Ctap2version: webauthn.Ctap2versionCtap21, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	return &Keeper{tab, r.AuthenticatorID}
}

// Count is how many passkeys it keeps.
func (k *Keeper) Count() int {
	k.tab.t.Helper()
	return len(call(k.tab, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: k.id}).Credentials)
}

// Asked gives the mediation of every call of navigator.credentials.get on the page
// so far: "optional" is what it is where the page does not say.
func (k *Keeper) Asked() []string {
	k.tab.t.Helper()
	return Eval[[]string](k.tab, `passkeysAsked`)
}

// Click clicks on what the page shows, and does not wait for anything.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	run(tab, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// WaitFor waits until a JavaScript expression is true in the page.
func (tab *Tab) WaitFor(expression string) {
	tab.t.Helper()
	run(tab, chromedp.Poll[bool](expression))
}

// TypeInto types into a field that a page shows.
func (tab *Tab) TypeInto(selector, text string) {
	tab.t.Helper()
	run(tab, chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible))
}
