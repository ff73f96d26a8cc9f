package config

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	envPrefix = "PROPUSK_"
	fromFlag  = "flag --"
	fromEnv   = "environment variable "
	fromMode  = "default"
)

// value is the text that won for one setting, and where it came from.
type value struct {
	text, source string
}

// loader gathers the values, the Config and the problems of one Load.
type loader struct {
	mode     Mode
	readFile func(string) ([]byte, error)
	config   Config
	problems []Problem
	inFile   map[string]value
	found    map[string]value // what won, for every setting
	broken   map[string]bool  // settings with a problem: rules that join settings pass them over
}

func (l *loader) add(name, source, reason string, args ...any) {
	l.broken[name] = true
	l.problems = append(l.problems, Problem{name, source, fmt.Sprintf(reason, args...)})
}

func envName(setting string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// environment picks our variables, by setting, and complains of strangers: a
// misspelled variable would otherwise leave a default in force unnoticed.
func (l *loader) environment(environ []string) map[string]string {
	names := map[string]string{}
	for i := range settings {
		names[envName(settings[i].name)] = settings[i].name
	}
	given := map[string]string{}
	for _, pair := range environ {
		name, text, _ := strings.Cut(pair, "=")
		setting, known := names[name]
		if _, seen := given[setting]; seen || !strings.HasPrefix(name, envPrefix) || isForeign(name, text) {
			continue // of two with one name the first counts, as in os.Getenv
		}
		if !known {
			l.add(name, "environment", "no such setting%s", suggest(name, sortedKeys(names)))
			continue
		}
		given[setting] = text
	}
	return given
}

// serviceVariable is what Kubernetes sets for every service, besides NAME_PORT.
var serviceVariable = regexp.MustCompile(`^PROPUSK_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// isForeign knows the variables that begin like ours and are none: those of the
// tests, and those that Kubernetes makes for a service called propusk or
// propusk-something. PROPUSK_PORT=tcp://10.0.0.1:80 is such a one, while
// PROPUSK_PORT=80 is a person's mistake.
func isForeign(name, text string) bool {
	return strings.HasPrefix(name, envPrefix+"TEST_") ||
		strings.HasPrefix(name, envPrefix+"BENCH_") ||
		serviceVariable.MatchString(name) ||
		strings.HasSuffix(name, "_PORT") && strings.Contains(text, "://")
}

// file reads the YAML file that flag or environment name, and returns its path.
func (l *loader) file(given, env map[string]string) string {
	path, source := env[configName], fromEnv+envName(configName)
	if flag, ok := given[configName]; ok {
		path, source = flag, fromFlag+configName
	}
	if path == "" {
		return ""
	}
	data, err := l.readFile(path)
	if err != nil {
		l.add(configName, source, "%v", err)
		return path
	}
	l.inFile, err = l.parseFile(path, data)
	if err != nil {
		l.add(configName, "file "+path, "%v", err)
	}
	return path
}

// parseFile reads a flat mapping of settings. It works on YAML's nodes and not
// on Go values, so that texts stay as written (0123 stays 0123) and every
// problem knows its line.
func (l *loader) parseFile(path string, data []byte) (map[string]value, error) {
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil // nothing but comments
	case err != nil:
		return nil, yamlError(err)
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one YAML document")
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("is not a list of `setting: value` lines")
	}
	root := document.Content[0]
	values := map[string]value{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, node := root.Content[i], root.Content[i+1]
		source := fmt.Sprintf("file %s, line %d", path, key.Line)
		s := settingNamed(key.Value)
		switch _, twice := values[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			l.add("config", source, "a key must be a setting's name")
		case s == nil:
			l.add(key.Value, source, "no such setting%s", suggest(key.Value, names()))
		case s.name == configName:
			l.add(key.Value, source, "a file cannot name another file")
		case twice:
			l.add(key.Value, source, "is given twice; first in %s", values[key.Value].source)
		default:
			text, err := scalar(node, s.list)
			if err != nil {
				l.add(key.Value, source, "%v", err)
			}
			values[key.Value] = value{text, source}
		}
	}
	return values, nil
}

// yamlError leaves out what the parser quotes of the file, which may be part of
// a password that wants quotes (database: *secret).
func yamlError(err error) error {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	if before, _, quoted := strings.Cut(reason, "'"); quoted {
		reason = strings.TrimSpace(before) + " … (a value with special characters needs quotes)"
	}
	return fmt.Errorf("is not valid YAML: %s", reason)
}

// scalar is a node's text; a list's items are joined by commas.
func scalar(node *yaml.Node, list bool) (string, error) {
	switch {
	case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null":
		return "", errors.New(`has no value; leave the line out, or write "" for none`)
	case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!binary":
		return "", errors.New("must be text")
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind == yaml.SequenceNode && list:
		var items []string
		for _, item := range node.Content {
			text, err := scalar(item, false)
			if err != nil {
				return "", fmt.Errorf("line %d: %w", item.Line, err)
			}
			items = append(items, text)
		}
		return strings.Join(items, ","), nil
	case node.Kind == yaml.AliasNode:
		return "", errors.New("must be written out, not an alias")
	case list:
		return "", errors.New("must be a text or a list of texts")
	default:
		return "", errors.New("must be a single value")
	}
}

// merge settles which source wins for every setting.
func (l *loader) merge(given, env map[string]string) {
	for i := range settings {
		s := &settings[i]
		v := value{s.def(l.mode), fromMode}
		if file, ok := l.inFile[s.name]; ok {
			v = file
		}
		if text, ok := env[s.name]; ok && (text != "" || s.mayEmpty) {
			v = value{text, fromEnv + envName(s.name)}
		}
		if text, ok := given[s.name]; ok {
			v = value{text, fromFlag + s.name}
		}
		l.found[s.name] = v
	}
}

// parse checks one setting by itself and keeps it.
func (l *loader) parse(s *setting) {
	v := l.found[s.name]
	if l.broken[s.name] && strings.HasPrefix(v.source, "file ") {
		return // it was not to be read in the first place
	}
	switch {
	case v.text != "":
		if err := s.into(&l.config, v.text); err != nil {
			l.add(s.name, v.source, "%v", err)
			return
		}
	case !s.mayEmpty && v.source != fromMode:
		l.add(s.name, v.source, "must not be empty")
		return
	}
	shown := s.shown(v.text)
	l.config.inForce = append(l.config.inForce, inForce{s.name, shown, v.source, shown != v.text})
}

func names() []string {
	var all []string
	for i := range settings {
		all = append(all, settings[i].name)
	}
	return all
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
