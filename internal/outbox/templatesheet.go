package outbox

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// sheet is a mail with its values; the layout shows it as HTML.
type sheet struct {
	Lang, Subject, Service, Heading, Footer string
	Blocks                                  []block
}

// block is one of: a paragraph, a note, a code, a button with its link, rows.
type block struct {
	Paragraph, Note, Code, Label, Link string
	Rows                               []row
}

type row struct{ Label, Value string }

// in fills the mail.
func (m mail) in(v values, use linkUse) (s sheet, err error) {
	s = sheet{Lang: v.lang, Service: v.service}
	if s.Subject, err = m.subject.in(v); err != nil {
		return s, err
	}
	if s.Heading, err = m.heading.in(v); err != nil {
		return s, err
	}
	for _, b := range m.blocks {
		blocks, err := b.in(v, use)
		if err != nil {
			return s, err
		}
		s.Blocks = append(s.Blocks, blocks...)
	}
	return s, nil
}

// in fills the block, which may be two, or none.
func (b mailBlock) in(v values, use linkUse) ([]block, error) {
	switch b.kind {
	case buttonBlock:
		return b.button(v, use)
	case detailsBlock:
		return b.details(v)
	case codeBlock:
		code, err := words{{key: "code"}}.in(v)
		return []block{{Code: code}}, err
	}
	text, err := b.words.in(v)
	if b.kind == noteBlock {
		return []block{{Note: text}}, err
	}
	return []block{{Paragraph: text}}, err
}

func (b mailBlock) button(v values, use linkUse) (out []block, err error) {
	link := v.data["link"]
	if link == "" {
		if use == mustLink {
			return nil, errors.New("has no link")
		}
		return nil, nil
	}
	if len(b.words) > 0 {
		text, err := b.words.in(v)
		if err != nil {
			return nil, err
		}
		out = append(out, block{Paragraph: text})
	}
	label, err := b.label.in(v)
	return append(out, block{Label: label, Link: link}), err
}

// details leaves out the rows whose values are not known.
func (b mailBlock) details(v values) ([]block, error) {
	var rows []row
	for _, r := range b.rows {
		value, err := r.value.in(v)
		if errors.Is(err, errNoValue) {
			continue
		} else if err != nil {
			return nil, err
		}
		label, err := r.label.in(v)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{label, value})
	}
	if rows == nil {
		return nil, nil
	}
	return []block{{Rows: rows}}, nil
}

// Where lines of plain text end, in characters; RFC 5322, section 2.1.1, asks
// for 78 at most. A row has room for the longest value and its label.
const (
	plainWidth = 72
	rowWidth   = 78
)

// plain is the mail as text.
func (s sheet) plain() string {
	var out strings.Builder
	out.WriteString(wrapped(s.Heading, "", plainWidth))
	for _, b := range s.Blocks {
		out.WriteString("\n")
		switch {
		case b.Code != "":
			out.WriteString("    " + b.Code + "\n")
		case b.Link != "":
			out.WriteString(wrapped(b.Label+":", "", plainWidth) + b.Link + "\n") // nothing else on its line: programs take along what touches it
		case b.Rows != nil:
			out.WriteString(plainRows(b.Rows))
		default:
			out.WriteString(wrapped(b.Paragraph+b.Note, "", plainWidth))
		}
	}
	out.WriteString("\n" + wrapped(s.Footer, "", plainWidth))
	return out.String()
}

func plainRows(rows []row) string {
	width := 0
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r.Label))
	}
	var out strings.Builder
	for _, r := range rows {
		out.WriteString(wrapped(fmt.Sprintf("%-*s  %s", width, r.Label, r.Value), strings.Repeat(" ", width+2), rowWidth))
	}
	return out.String()
}

// wrapped breaks a text into lines, of which those after the first are indented.
func wrapped(text, indent string, width int) string {
	var out, line strings.Builder
	n := 0
	for word := range strings.SplitSeq(text, " ") {
		length := utf8.RuneCountInString(word)
		if n > 0 && n+1+length > width {
			out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
			line.Reset()
			line.WriteString(indent)
			n = len(indent)
		} else if n > 0 || line.Len() > 0 {
			line.WriteString(" ")
			n++
		}
		line.WriteString(word)
		n += length
	}
	out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	return strings.ReplaceAll(out.String(), noBreak, " ")
}
