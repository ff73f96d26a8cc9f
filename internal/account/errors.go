package account

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kind classifies an error for the face that reports it; the face picks the
// status. A rule never knows HTTP.
type Kind uint8

// The kinds of error that leave this package. Whatever is not an [*Error] is a
// fault of ours and is reported without detail.
const (
	Invalid         Kind = iota + 1 // a rule about the input is broken
	Unauthenticated                 // no proof, or a wrong one, of who is asking
	Forbidden                       // known caller, not allowed
	NotFound                        // no such thing, or none that this caller may know of
	Conflict                        // somebody else already has it
	Precondition                    // the thing changed since the caller read it
	Throttled                       // too many attempts; RetryAfter says when
	Overloaded                      // no room to do the work in time; RetryAfter says when
)

// Code is the stable, machine-readable name of what went wrong. The whole list
// stands in messages.go.
type Code string

// Fault is what is wrong with one field, or with the request as a whole.
type Fault struct {
	Code Code
	Args map[string]string // values for the placeholders of the code's words; never user input
}

// Error is a refusal that the caller can understand and act upon.
type Error struct {
	Kind       Kind
	Fault      Fault
	Fields     map[string]Fault // by wire name; every broken field, not only the first
	RetryAfter time.Duration    // for Throttled and Overloaded
	Challenge  *Challenge       // of a login that is not finished
	Factors    []FactorKind     // that could prove what is missing

	unhashed bool // Overloaded before anything was done for a password
}

// Error gives the English words, with the fields in order of their names.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Fault.Text("en"))
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		fmt.Fprintf(&b, " %s: %s", name, e.Fields[name].Text("en"))
	}
	return b.String()
}

// Is makes errors.Is compare by code, so that callers need not know the fields.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Fault.Code == e.Fault.Code
}

func refuse(kind Kind, code Code) *Error {
	return &Error{Kind: kind, Fault: Fault{Code: code}}
}

// faults collects every broken field of one input.
type faults map[string]Fault

func (f faults) add(field string, fault *Fault) {
	if fault != nil {
		f[field] = *fault
	}
}

// err is nil when no field is broken.
func (f faults) err(kind Kind, code Code) error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Kind: kind, Fault: Fault{Code: code}, Fields: f}
}
