package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// sourced is the text of a setting and where it was found, for errors.
type sourced struct{ text, where string }

// configFile is what weir.yaml says, its texts not judged yet.
type configFile struct {
	values   map[string]sourced // by the setting's name in the environment
	accounts []fileAccount
}

type fileAccount struct {
	name, url, keyFile, limit sourced
	channels                  []sourced
}

// fileReader walks over the syntax tree of weir.yaml. Decoding it into a struct
// would report one fault only, and quote the lines around it: secrets too.
type fileReader struct {
	path  string
	wrong *faults
}

var (
	errNotText    = errors.New("must be one plain value")
	errNotList    = errors.New("must be a list")
	errNotMapping = errors.New("must be a mapping of names to values")
)

// readConfigFile reads the file at path, which may be absent unless a person named it.
func readConfigFile(path sourced, settings []setting, wrong *faults) configFile {
	file := configFile{values: make(map[string]sourced)}
	if path.text == "" {
		return file // refused with the other values
	}
	named := path.where != ""
	data, err := os.ReadFile(path.text)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return file
	}
	if err != nil {
		wrong.add(configSetting, path.where, err)
		wrong.unread = true
		return file
	}
	r := fileReader{path.text, wrong}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		r.refuseSyntax(err)
		wrong.unread = true
		return file
	}
	if len(tree.Docs) > 1 {
		wrong.add(path.text, "", errors.New("holds more than one YAML document; keep one"))
		return file
	}
	for _, document := range tree.Docs {
		r.document(document.Body, settings, &file)
	}
	return file
}

// quoted is what the parser repeats of the file, which may be a secret.
var quoted = regexp.MustCompile(`:? *"(\\.|[^"\\])*"`)

// refuseSyntax reports where the YAML breaks. Only the bare message is passed
// on, without what it quotes: the error's own text shows the source.
func (r fileReader) refuseSyntax(err error) {
	where, reason := r.path, "is not YAML"
	if syntax, ok := errors.AsType[yaml.Error](err); ok {
		reason += ": " + quoted.ReplaceAllString(syntax.GetMessage(), "")
		if at := syntax.GetToken(); at != nil {
			where = fmt.Sprintf("%s:%d", r.path, at.Position.Line)
		}
	}
	r.wrong.add(where, "", errors.New(reason))
}

func (r fileReader) document(body ast.Node, settings []setting, file *configFile) {
	known := []string{"accounts"}
	byName := make(map[string]setting, len(settings))
	for _, s := range settings {
		if s.name != configSetting { // the file cannot say where it is
			known = append(known, s.yamlName())
			byName[s.yamlName()] = s
		}
	}
	r.each(r.path, body, func(key string, at sourced, value ast.Node) {
		s, isSetting := byName[key]
		switch {
		case isSetting:
			file.values[s.name] = r.text(s.name, value)
		case key == "accounts":
			r.each(key, value, func(name string, at sourced, value ast.Node) {
				file.accounts = append(file.accounts, r.account(at, value))
			})
		default:
			r.refuseName(key, at, known)
		}
	})
}

func (r fileReader) account(name sourced, body ast.Node) fileAccount {
	account := fileAccount{name: name}
	path := "accounts." + name.text
	r.each(path, body, func(key string, at sourced, value ast.Node) {
		field := path + "." + key
		switch key {
		case "url":
			account.url = r.text(field, value)
		case "key_file":
			account.keyFile = r.text(field, value)
		case "limit":
			account.limit = r.text(field, value)
		case "channels":
			list, ok := value.(*ast.SequenceNode)
			if !ok {
				r.wrong.add(field, at.where, errNotList)
				return
			}
			for _, item := range list.Values {
				account.channels = append(account.channels, r.text(field, item))
			}
		default:
			r.refuseName(field, at, []string{"url", "key_file", "limit", "channels"})
		}
	})
	return account
}

// each calls visit for every entry of a mapping; an empty one has none.
func (r fileReader) each(path string, node ast.Node, visit func(key string, at sourced, value ast.Node)) {
	if node == nil || node.Type() == ast.NullType {
		return
	}
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		r.wrong.add(path, r.where(node), errNotMapping)
		return
	}
	for _, entry := range mapping.Values {
		key := entry.Key.GetToken().Value
		visit(key, sourced{key, r.where(entry.Key)}, entry.Value)
	}
}

// text returns a value as it is written in the file.
func (r fileReader) text(field string, node ast.Node) sourced {
	switch node.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return sourced{node.GetToken().Value, r.where(node)}
	case *ast.NullNode:
	default:
		r.wrong.add(field, r.where(node), errNotText)
	}
	return sourced{}
}

func (r fileReader) refuseName(name string, at sourced, known []string) {
	reason := "is not a setting; 'weir serve --help' lists them"
	if near := nearest(at.text, known); near != "" {
		reason = fmt.Sprintf("is not a setting; did you mean %s?", near)
	}
	r.wrong.add(name, at.where, errors.New(reason))
}

func (r fileReader) where(node ast.Node) string {
	return fmt.Sprintf("%s:%d", r.path, node.GetToken().Position.Line)
}
