// Package plugins holds what those who write mappers start from: the SDKs in Go,
// Rust, C and AssemblyScript, worked examples with their test vectors, and the
// templates of which `tallyhook mapper new` makes a project. An SDK is one or two
// source files that are copied into the project, so that building it needs a
// compiler and no network (AssemblyScript's compiler comes from npm).
//
//	sdk/LANG        the SDK            template/LANG   a project without the SDK
//	examples/NAME   one schema each, in several languages, built by plugins/build
//
// ABI.md is the contract underneath, enough to write a mapper in any language.
package plugins

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

//go:embed sdk/as sdk/c sdk/rust sdk/go/tallyhook.go sdk/go/text.go sdk/go/testing.go all:template
var files embed.FS

// Langs are the languages that have an SDK and a template.
func Langs() []string { return []string{"as", "c", "go", "rust"} }

// SDK gives the files of a language's SDK, which lie beside the partner's source;
// those of Go are a package and belong into a folder named tallyhook. The error
// names the languages that there are.
func SDK(lang string) (fs.FS, error) { return folder("sdk", lang) }

// Template gives a language's project without its SDK: source, Makefile, README
// and two vectors. Files that a build does not take by another name end in .tmpl,
// see Project. It is nil for a language that there is not.
func Template(lang string) fs.FS {
	sub, err := folder("template", lang)
	if err != nil {
		return nil
	}
	return sub
}

// Project gives a whole project, its files by their paths: the template with the
// SDK where its source looks for it.
func Project(lang string) (map[string][]byte, error) {
	project := map[string][]byte{}
	sdk, err := SDK(lang)
	if err != nil {
		return nil, err
	}
	into := ""
	if lang == "go" {
		into = "tallyhook/"
	}
	if err := add(project, into, sdk); err != nil {
		return nil, err
	}
	return project, add(project, "", Template(lang))
}

func folder(kind, lang string) (fs.FS, error) {
	if !slices.Contains(Langs(), lang) {
		return nil, fmt.Errorf("language %q has no SDK: have %s; for others see plugins/ABI.md", lang, strings.Join(Langs(), ", "))
	}
	return fs.Sub(files, kind+"/"+lang)
}

// add puts the files of from into project. A name loses its .tmpl: go.mod would
// otherwise end our own module, and Go sources would be built with it.
func add(project map[string][]byte, into string, from fs.FS) error {
	return fs.WalkDir(from, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, path)
		project[into+strings.TrimSuffix(path, ".tmpl")] = text
		return err
	})
}
