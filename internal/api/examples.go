package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"propusk/internal/account"
)

// exampleCase is one of the bodies that a type stands for.
type exampleCase struct {
	name, about string
	fields      string         // that it has, with spaces between
	with        map[string]any // what stands in them other than the schema's example
}

// cased is a type with fields that are not for the same body, such as a code and,
// in its place, a passkey: an example with all of them would be refused.
type cased interface{ cases() []exampleCase }

// object is an example that keeps the order of its fields, which is that of the
// answers.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON implements [json.Marshaler].
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(m.name)
		value, errValue := json.Marshal(m.value)
		if err = errors.Join(err, errValue); err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// exemplify gives a media type the examples of what v's type says, each inside of
// what envelope makes of it. A field that no example shows is a fault of ours.
func (b *builder) exemplify(media *huma.MediaType, v any, envelope func(any) any) {
	t := reflect.TypeOf(v)
	all := fieldNames(reflect.New(t).Interface())
	c, ok := v.(cased)
	if !ok {
		media.Example = envelope(b.objectOf(t, all, nil))
		return
	}
	media.Examples = map[string]*huma.Example{}
	shown := map[string]bool{}
	for _, c := range c.cases() {
		fields := strings.Fields(c.fields)
		for _, name := range fields {
			shown[name] = true
		}
		media.Examples[c.name] = &huma.Example{Summary: c.about, Value: envelope(b.objectOf(t, fields, c.with))}
	}
	for _, name := range all {
		if !shown[name] {
			b.wrong("%s.%s is in no example", t.Name(), name)
		}
	}
}

func bare(v any) any { return v }

func enveloped(v any) any { return object{{"status", "success"}, {"data", v}} }

// objectOf makes an example with these fields of a struct, from its schema.
func (b *builder) objectOf(t reflect.Type, fields []string, with map[string]any) object {
	schema := b.schemas.Schema(t, false, "")
	o := object{}
	for _, name := range fieldNames(reflect.New(t).Interface()) {
		value, given := with[name]
		if !slices.Contains(fields, name) {
			if given {
				b.wrong("%s.%s has an example and is not in it", t.Name(), name)
			}
			continue
		}
		if !given {
			value = b.exampleOf(schema.Properties[name], t.Name()+"."+name)
		}
		o = append(o, member{name, value})
	}
	if len(o) != len(fields) {
		b.wrong("an example of %s has a field that is not there: %q", t.Name(), fields)
	}
	return o
}

// exampleOf takes a field's example from the tag, the values that it can have, or
// what it consists of.
func (b *builder) exampleOf(s *huma.Schema, where string) any {
	switch {
	case s.Ref != "":
		t := b.schemas.TypeFromRef(s.Ref)
		return b.objectOf(t, fieldNames(reflect.New(t).Interface()), nil)
	case len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type == huma.TypeArray:
		return []any{b.exampleOf(s.Items, where)}
	}
	b.wrong("%s has no example", where)
	return nil
}

// wrong notes a fault of the document.
func (b *builder) wrong(format string, args ...any) {
	b.err = errors.Join(b.err, fmt.Errorf(format, args...))
}

// exemplifyRefusal shows the refusals of a status by their codes, in both forms.
func (b *builder) exemplifyRefusal(res *huma.Response, status int, shown []account.Code) {
	if len(shown) == 0 {
		return
	}
	jsend, problems := map[string]*huma.Example{}, map[string]*huma.Example{}
	for _, code := range shown {
		words, ok := account.Codes[code]
		if !ok {
			b.wrong("there is no code %s", code)
		}
		more, with := unfinishedFields(code)
		data := map[string]any{"code": code, "message": words.EN}
		maps.Copy(data, with)
		jsend[string(code)] = &huma.Example{Summary: words.EN, Value: object{
			{"status", "fail"}, {"data", b.objectOf(reflect.TypeFor[failData](), append([]string{"code", "message"}, more...), data)},
		}}
		flat := map[string]any{"type": problemType(code), "title": http.StatusText(status), "status": status, "detail": words.EN, "code": code}
		maps.Copy(flat, with)
		problems[string(code)] = &huma.Example{Summary: words.EN, Value: b.objectOf(reflect.TypeFor[problem](),
			append([]string{"type", "title", "status", "detail", "code", "request_id"}, more...), flat)}
	}
	res.Content["application/json"].Examples = jsend
	res.Content["application/problem+json"].Examples = problems
}

// unfinishedFields are those of [Unfinished] that a refusal comes with.
func unfinishedFields(code account.Code) (fields []string, with map[string]any) {
	switch code {
	case account.CodeSecondFactorRequired:
		return []string{"challenge", "factors"}, nil
	case account.CodeSecondFactorEnrolment:
		return []string{"challenge", "factors"}, map[string]any{"factors": []account.FactorKind{account.TOTP, account.Passkey}}
	case account.CodeSecondFactorProofRequired:
		return []string{"factors"}, nil
	}
	return nil, nil
}
