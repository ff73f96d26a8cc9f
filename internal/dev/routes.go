package dev

import "net/http"

// mount puts the routes on the mux. What takes no other method says so.
func (d *Dev) mount() {
	for path, methods := range map[string]map[string]http.HandlerFunc{
		"/dev":                   {"GET": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inboxPath, http.StatusSeeOther) }},
		inboxPath:                {"GET": d.inboxPage, "POST": d.inboxForm},
		inboxPath + "/{id}":      {"GET": d.messagePage},
		inboxPath + "/{id}/html": {"GET": d.messageHTML},
		"/dev/assets/{name}":     {"GET": d.asset},
		"/dev/messages":          {"GET": d.listMessages, "DELETE": d.clearMessages},
		"/dev/messages/{id}":     {"GET": d.readMessage},
		"/dev/clock":             {"GET": d.readClock, "POST": d.moveClock},
		"/dev/users":             {"POST": d.makeUsers},
		"/dev/limits/reset":      {"POST": d.resetLimits},
	} {
		allow := ""
		for _, method := range []string{"DELETE", "GET", "POST"} {
			if h := methods[method]; h != nil {
				d.mux.HandleFunc(method+" "+path, h)
				if allow += ", " + method; method == "GET" {
					allow += ", HEAD"
				}
			}
		}
		d.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", allow[2:])
			refuse(w, http.StatusMethodNotAllowed, "method_not_allowed", "This path does not take that method; the Allow header lists those that it takes.")
		})
	}
	d.mux.Handle("/", d.o.Otherwise)
}
