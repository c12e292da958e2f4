package signature

import "strings"

// appendURL adds the request's URL, or its query alone, cut where the scheme
// says.
func (u *run) appendURL(dst []byte, sc *scheme, whole bool) (out []byte, why Reason) {
	query, hasQuery := u.query, u.hasQuery
	if sc.unescape {
		if why = u.unambiguous(); why != "" {
			return dst, why
		}
	}
	if sc.cut != cutNone {
		before, rest, why := u.cutQuery(sc, query)
		if why != "" {
			return dst, why
		}
		if sc.cut == cutBefore {
			rest = ""
		}
		if hasQuery = before != "" || rest != ""; before != "" && rest != "" {
			u.joined = append(append(append(u.joined[:0], before...), '&'), rest...)
			query = text(u.joined)
		} else {
			query = before + rest
		}
	}
	from := len(dst)
	if whole {
		path, _, _ := strings.Cut(u.r.URL, "?")
		dst = append(u.appendBase(dst, sc), path...)
		if hasQuery {
			dst = append(dst, '?')
		}
	}
	dst = append(dst, query...)
	if sc.unescape {
		u.joined = append(u.joined[:0], dst[from:]...)
		dst = appendUnescape(dst[:from], u.joined, sc.plus)
	}
	return dst, ""
}

// unambiguous refuses a query that names a field twice with different values.
// Where escapes are undone before signing, the signature is as good for a=1&b=2
// as for a=1%26b=2, so that a value which a user may choose could bring in a
// second amount.
func (u *run) unambiguous() Reason {
	if why := u.loaded(); why != "" {
		return why
	}
	ps := &u.params
	for i := range ps.list {
		f := &ps.list[i]
		if f.origin != fromQuery {
			break
		}
		if i == SortedFieldsMax {
			return TooMany
		}
		name := text(ps.name(f))
		for j := range ps.list[:i] {
			if g := &ps.list[j]; ps.named(g, name, f.wide) && text(ps.value(g)) != text(ps.value(f)) {
				u.about = shorten(strings.Clone(name), fieldShownBytesMax)
				return FieldRepeated
			}
		}
	}
	return ""
}

func (u *run) appendBase(dst []byte, sc *scheme) []byte {
	base := sc.base
	if base == "" {
		base = u.r.PublicBase
	}
	if base != "" {
		return append(dst, strings.TrimRight(base, "/")...)
	}
	scheme := u.r.Scheme
	if scheme == "" {
		scheme = "https"
	}
	return append(append(append(dst, scheme...), "://"...), u.r.Host...)
}

// cutQuery finds the signature's parameter and gives what stands before and
// after it. After a cut only parameters may follow that the scheme names,
// since nobody signed them.
func (u *run) cutQuery(sc *scheme, query string) (before, after string, why Reason) {
	seen, tail := false, -1 // where parameters begin that nobody signs
	from, to := len(query), len(query)
	for at := 0; at < len(query); {
		end := strings.IndexByte(query[at:], '&')
		if end < 0 {
			end = len(query)
		} else {
			end += at
		}
		raw, _, _ := strings.Cut(query[at:end], "=")
		u.scratch[0] = appendUnescape(u.scratch[0][:0], raw, true)
		switch {
		case text(u.scratch[0]) == sc.signature.name:
			if seen {
				return "", "", SignatureMalformed
			}
			seen, from, to = true, at, end
		case sc.cut != cutBefore || end == at:
		case sc.inTail(u.scratch[0]):
			if tail < 0 {
				tail = at
			}
		case seen:
			u.about = shorten(string(u.scratch[0]), fieldShownBytesMax)
			return "", "", TailUnsigned
		default:
			tail = -1
		}
		at = end + 1
	}
	if !seen && tail >= 0 { // Sign meets a request without a signature
		from = tail
	}
	return strings.TrimSuffix(query[:from], "&"), strings.TrimPrefix(query[to:], "&"), ""
}
