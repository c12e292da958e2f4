package signature

import (
	"fmt"
	"strings"
)

// partKind is what one part of a template stands for.
type partKind uint8

const (
	partText partKind = iota
	partField
	partSecret
	partBody
	partURL
	partQuery
	partPath
	partHost
	partMethod
	partTimestamp
	partID
	partSorted
)

var partWords = map[string]partKind{"@secret": partSecret, "@body": partBody, "@url": partURL, "@query": partQuery, "@path": partPath,
	"@host": partHost, "@method": partMethod, "@timestamp": partTimestamp, "@id": partID, "@sorted": partSorted}

// part is a literal or a placeholder of a template.
type part struct {
	kind partKind
	text string // of a literal
	ref  ref    // of a field
	pipe pipe
}

// inputWords are the inputs that need no template.
var inputWords = map[string]string{"body": "{@body}", "url": "{@url}", "query": "{@query}", "sorted": "{@sorted}"}

// parseTemplate reads an input.
func parseTemplate(text string) (parts []part, err error) {
	if whole, ok := inputWords[text]; ok {
		text = whole
	}
	if text == "" {
		return nil, fmt.Errorf("input is empty: want body, url, query, sorted, or a template such as {user_id}.{@secret}")
	}
	if len(text) > TemplateBytesMax {
		return nil, fmt.Errorf("input of %d bytes: at most %d", len(text), TemplateBytesMax)
	}
	whole := text
	var literal []byte
	flush := func() {
		if len(literal) > 0 {
			parts = append(parts, part{kind: partText, text: string(literal)})
			literal = literal[:0]
		}
	}
	for text != "" {
		c := text[0]
		if c != '{' && c != '}' {
			literal, text = append(literal, c), text[1:]
			continue
		}
		if len(text) > 1 && text[1] == c {
			literal, text = append(literal, c), text[2:]
			continue
		}
		end := strings.IndexByte(text, '}')
		if c == '}' || end < 0 {
			return nil, fmt.Errorf("input %q: a brace is left alone at byte %d: write {{ or }} for the character", whole, len(whole)-len(text))
		}
		flush()
		p, err := parsePart(text[1:end])
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", whole, err)
		}
		parts = append(parts, p)
		text = text[end+1:]
		if len(parts) > TemplatePartsMax {
			return nil, fmt.Errorf("input %q: more than %d parts", whole, TemplatePartsMax)
		}
	}
	flush()
	if len(parts) > TemplatePartsMax {
		return nil, fmt.Errorf("input %q: more than %d parts", whole, TemplatePartsMax)
	}
	for _, p := range parts {
		if p.kind != partText && p.kind != partSecret {
			return parts, nil
		}
	}
	return nil, fmt.Errorf("input %q: nothing of the request is in it: name a field in braces", whole)
}

// parsePart reads what stands between braces.
func parsePart(text string) (p part, err error) {
	name, steps, _ := strings.Cut(text, "|")
	kind, word := partWords[name]
	p.kind = partField
	switch {
	case word:
		p.kind = kind
	case strings.HasPrefix(name, "@"):
		return p, fmt.Errorf("placeholder {%s}: want {@secret}, {@body}, {@url}, {@query}, {@path}, {@host}, {@method}, {@timestamp}, {@id}, {@sorted}, or a field's name", name)
	default:
		if p.ref, err = parseRef(name); err != nil {
			return p, err
		}
	}
	if p.pipe, err = parsePipe(steps, p.kind == partField); err != nil {
		return p, fmt.Errorf("placeholder {%s}: %w", text, err)
	}
	return p, nil
}

// pairRule is a parsed Sorted.Pair: what stands around key and value.
type pairRule struct {
	before, between, after string
	key                    bool
}

func parsePair(text string) (r pairRule, err error) {
	if text == "" {
		text = "{key}={value}"
	}
	bad := fmt.Errorf("pair %q: want for example {key}={value} or {value}", text)
	if len(text) > SettingBytesMax || strings.Count(text, "{value}") != 1 {
		return r, bad
	}
	left, right, _ := strings.Cut(text, "{value}")
	r.after = right
	if before, between, ok := strings.Cut(left, "{key}"); ok {
		r.before, r.between, r.key = before, between, true
	} else {
		r.before = left
	}
	if strings.ContainsAny(r.before+r.between+r.after, "{}") {
		return r, bad
	}
	return r, nil
}
