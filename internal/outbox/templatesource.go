package outbox

import (
	"slices"
	"strings"
)

// mail is the source of one mail in one language: the text and the HTML are
// both made from it, and so cannot differ.
//
//	Subject: Your code
//
//	# Heading
//
//	A paragraph, in which {username} stands for a value,
//	{minutes: minute | minutes} for a number with its noun, and
//	{factor: totp=an app | passkey=a key | …} for words of a value.
//
//	@code
//
//	@button What the button says
//	A paragraph before it; both are left out when there is no link.
//
//	@details
//	Device: {device}
//	Time: {time}
//
//	@note A paragraph of less weight.
type mail struct {
	subject, heading words
	blocks           []mailBlock
}

type blockKind uint8

const (
	paragraphBlock blockKind = iota
	noteBlock
	codeBlock
	buttonBlock
	detailsBlock
)

type mailBlock struct {
	kind  blockKind
	words words // of a button: the paragraph before it
	label words // of a button
	rows  []mailRow
}

type mailRow struct{ label, value words }

// words is a text with places for values.
type words []piece

type piece struct {
	literal string            // or else:
	key     string            // of the value
	forms   []string          // a number's noun, one for each form that the language has
	choices map[string]string // words for each value
}

func (w words) speaksOf(key string) bool {
	return slices.ContainsFunc(w, func(p piece) bool { return p.key == key })
}

func (m mail) has(kind blockKind) bool {
	return slices.ContainsFunc(m.blocks, func(b mailBlock) bool { return b.kind == kind })
}

func (m mail) speaksOf(key string) bool {
	return slices.ContainsFunc(m.blocks, func(b mailBlock) bool {
		return b.words.speaksOf(key) || slices.ContainsFunc(b.rows, func(r mailRow) bool { return r.value.speaksOf(key) })
	})
}

// parser reads one file.
type parser struct {
	l    *templateLoader
	file string
	lang string
	data []string
}

type sourceLine struct {
	n    int
	text string
}

// paragraphs are the lines between empty ones.
func paragraphs(content string) (out [][]sourceLine) {
	var now []sourceLine
	n := 0
	for text := range strings.Lines(content + "\n\n") {
		n++
		if text = strings.TrimSpace(text); text != "" {
			now = append(now, sourceLine{n, text})
		} else if now != nil {
			out, now = append(out, now), nil
		}
	}
	return out
}

// whole reads a file that is one paragraph.
func (p *parser) whole(content string) words {
	all := paragraphs(content)
	if len(all) != 1 {
		p.l.refuse(p.file, 0, "must be one paragraph, not %d", len(all))
		return nil
	}
	return p.words(all[0], p.data)
}

func (p *parser) mail(content string) (m mail) {
	all := paragraphs(content)
	if len(all) < 3 || len(all[0]) != 1 || !strings.HasPrefix(all[0][0].text, "Subject: ") {
		p.l.refuse(p.file, 1, `must begin with "Subject: …", an empty line, "# Heading", an empty line and words`)
		return m
	}
	heading, ok := strings.CutPrefix(all[1][0].text, "# ")
	if !ok || len(all[1]) != 1 {
		p.l.refuse(p.file, all[1][0].n, `must be one line, "# Heading"`)
	}
	// A subject stands in lists and notifications, where nothing tells that a
	// stranger wrote a part of it.
	m.subject = p.line(all[0][0].n, strings.TrimPrefix(all[0][0].text, "Subject: "), nil)
	m.heading = p.line(all[1][0].n, heading, nil)
	for _, lines := range all[2:] {
		m.blocks = append(m.blocks, p.block(lines))
	}
	return m
}

func (p *parser) block(lines []sourceLine) (b mailBlock) {
	first := lines[0]
	if !strings.HasPrefix(first.text, "@") {
		if strings.HasPrefix(first.text, "# ") {
			p.l.refuse(p.file, first.n, "is a second heading")
		}
		b.words = p.words(lines, p.data)
		return b
	}
	name, rest, _ := strings.Cut(first.text, " ")
	rest = strings.TrimSpace(rest)
	lines = lines[1:]
	switch name {
	case "@code":
		b.kind = codeBlock
		if rest != "" || len(lines) > 0 {
			p.l.refuse(p.file, first.n, "@code stands alone")
		}
	case "@note":
		b.kind = noteBlock
		b.words = p.words(append([]sourceLine{{first.n, rest}}, lines...), p.data)
	case "@button":
		b.kind = buttonBlock
		if rest == "" {
			p.l.refuse(p.file, first.n, "@button must be followed by what it says")
		}
		b.label = p.line(first.n, rest, nil)
		b.words = p.words(lines, p.data)
	case "@details":
		b.kind = detailsBlock
		if rest != "" || len(lines) == 0 {
			p.l.refuse(p.file, first.n, `@details stands alone on its line, and "Label: {value}" on those below`)
		}
		for _, line := range lines {
			b.rows = append(b.rows, p.row(line))
		}
	default:
		p.l.refuse(p.file, first.n, "%s is not one of @button, @code, @details, @note", name)
	}
	return b
}

func (p *parser) row(line sourceLine) mailRow {
	label, value, ok := strings.Cut(line.text, ": ")
	if !ok || strings.Contains(label, "{") {
		p.l.refuse(p.file, line.n, `must be "Label: {value}"`)
	}
	return mailRow{label: p.line(line.n, label, nil), value: p.line(line.n, strings.TrimSpace(value), p.data)}
}

func (p *parser) words(lines []sourceLine, data []string) (w words) {
	for i, line := range lines {
		if i > 0 {
			w = append(w, piece{literal: " "})
		}
		w = append(w, p.line(line.n, line.text, data)...)
	}
	return w
}

// line reads words with places for what data names, and for the service.
func (p *parser) line(n int, text string, data []string) (w words) {
	for text != "" {
		before, rest, ok := strings.Cut(text, "{")
		if strings.Contains(before, "}") {
			p.l.refuse(p.file, n, "has a } without a {")
		}
		if before != "" {
			w = append(w, piece{literal: before})
		}
		if !ok {
			break
		}
		inside, after, closed := strings.Cut(rest, "}")
		if !closed {
			p.l.refuse(p.file, n, "has a { without a }")
			break
		}
		w = append(w, p.place(n, inside, data))
		text = after
	}
	return w
}

// place reads what stands between braces.
func (p *parser) place(n int, inside string, data []string) (one piece) {
	key, list, hasList := strings.Cut(inside, ":")
	one.key = strings.TrimSpace(key)
	if one.key != "service" && !slices.Contains(data, one.key) {
		known := append([]string{"service"}, data...)
		slices.Sort(known)
		p.l.refuse(p.file, n, "{%s} is not one of {%s}, which can stand here", one.key, strings.Join(known, "}, {"))
		return one
	}
	var items []string
	if hasList {
		for item := range strings.SplitSeq(list, "|") {
			items = append(items, strings.TrimSpace(item))
		}
	}
	switch {
	case slices.Contains(numbers, one.key):
		if want := pluralForms[p.lang]; hasList && len(items) != want || slices.Contains(items, "") {
			p.l.refuse(p.file, n, "{%s: …} must have %d forms of the noun, with | between them", one.key, want)
		}
		one.forms = items
	case one.key == "factor":
		one.choices = p.choices(n, items)
	case hasList:
		p.l.refuse(p.file, n, "{%s} is a text and has no forms", one.key)
	}
	return one
}

func (p *parser) choices(n int, items []string) map[string]string {
	choices := map[string]string{}
	for _, item := range items {
		value, text, _ := strings.Cut(item, "=")
		choices[strings.TrimSpace(value)] = strings.TrimSpace(text)
	}
	lacks := func(factor string) bool { return choices[factor] == "" }
	if slices.ContainsFunc(factors, lacks) || len(items) != len(factors) {
		p.l.refuse(p.file, n, "{factor: …} must have words for each of %s, and for nothing else", strings.Join(factors, ", "))
	}
	return choices
}
