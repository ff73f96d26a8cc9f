package config

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// inForce is one setting as Print shows it.
type inForce struct {
	name, shown, source string
	masked              bool
}

var plainScalar = regexp.MustCompile(`^[A-Za-z0-9/.]([A-Za-z0-9/.,:=_-]*[A-Za-z0-9/.,=_-])?$`)

// Print writes every setting in force as a configuration file, with its source
// behind it and its credentials masked. Defaults are commented out: some rules
// ask whether a setting was given, so a file that gave them all would mean
// something else.
func (c Config) Print(w io.Writer) error {
	for _, one := range c.inForce {
		line, err := yamlLine(one.name, one.shown)
		if err != nil {
			return fmt.Errorf("print %s: %w", one.name, err)
		}
		if one.source == fromMode || one.name == configName {
			line = "# " + line
		}
		note := one.source
		if one.masked {
			note += "; masked here"
		}
		if _, err := fmt.Fprintf(w, "%s  # %s\n", line, oneLine(note)); err != nil {
			return err
		}
	}
	return nil
}

func yamlLine(name, text string) (string, error) {
	scalar := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	if !plainScalar.MatchString(text) || scalar.ShortTag() == "!!null" {
		scalar.Style = yaml.DoubleQuotedStyle
	}
	key := &yaml.Node{Kind: yaml.ScalarNode, Value: name}
	line, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, scalar}})
	return strings.TrimRight(string(line), "\n"), err
}

// Row is what documentation and help say about one setting.
type Row struct {
	Name        string // as flag (after --) and in the file
	Env         string
	Default     string // empty for none
	DevDefault  string // the same in Dev
	Placeholder string
	Group       string
	Help        string
}

// Table gives all settings, in the order of the README.
func Table() []Row {
	tags := map[string]reflect.StructTag{}
	for field := range reflect.TypeFor[Flags]().Fields() {
		tags[field.Tag.Get("name")] = field.Tag
	}
	rows := make([]Row, len(settings))
	for i := range settings {
		s := &settings[i]
		tag := tags[s.name]
		rows[i] = Row{s.name, envName(s.name), s.def(Serve), s.def(Dev), tag.Get("placeholder"), tag.Get("group"), tag.Get("help")}
	}
	return rows
}

// MarkdownTable is the table of the README.
func MarkdownTable() string {
	var b strings.Builder
	b.WriteString("| setting | default | |\n|---|---|---|\n")
	code := func(text string) string {
		if text == "" {
			return "none"
		}
		return "`" + text + "`"
	}
	for _, row := range Table() {
		def := code(row.Default)
		if row.DevDefault != row.Default {
			def += ", in dev " + code(row.DevDefault)
		}
		fmt.Fprintf(&b, "| `--%s` | %s | %s |\n", row.Name, def, strings.ReplaceAll(row.Help, "|", `\|`))
	}
	return b.String()
}
