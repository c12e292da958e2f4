package source

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// MapperVersionMax is the highest number that a version of a mapper may have.
const MapperVersionMax = 1_000_000

// ParseMapper reads what a source's mapper setting says: NAME follows the
// mapper's active version (version is 0), NAME@VERSION is pinned to one.
func ParseMapper(text string) (name string, version int, err error) {
	name, pin, pinned := strings.Cut(text, "@")
	if !idForm.MatchString(name) {
		return "", 0, fmt.Errorf("mapper %q: want NAME or NAME@VERSION, the name being 1 to 63 of a-z, 0-9, dot, dash and underscore", text)
	}
	if !pinned {
		return name, 0, nil
	}
	version, err = strconv.Atoi(pin)
	if err != nil || version < 1 || version > MapperVersionMax || pin != strconv.Itoa(version) {
		return "", 0, fmt.Errorf("mapper %q: version %q is no whole number from 1; leave out the @ to follow the active version", text, pin)
	}
	return name, version, nil
}

// compileMapper reads the mapper's name. A mapper of the source's own is told
// nothing of names and notations: it gives reports in ours. So settings that
// speak of those would be read by nobody, and are refused.
func compileMapper(src *Source) (err error) {
	s := &src.Spec
	if s.Mapper == "" {
		if s.MapperFallback != "" {
			return fmt.Errorf("mapper_fallback %q: the built-in mapper has no versions; name a mapper, or leave it out", s.MapperFallback)
		}
		return nil
	}
	if src.MapperName, src.MapperVersion, err = ParseMapper(s.Mapper); err != nil {
		return err
	}
	switch {
	case s.MapperFallback != "" && s.MapperFallback != FallbackPrevious:
		return fmt.Errorf("mapper_fallback %q: want %s or nothing", s.MapperFallback, FallbackPrevious)
	case s.MapperFallback != "" && src.MapperVersion != 0:
		return fmt.Errorf("mapper_fallback %q: mapper %q is pinned to one version; leave out the @%d, or the fallback", s.MapperFallback, s.Mapper, src.MapperVersion)
	case event.SecretName(s.Identity):
		return fmt.Errorf("identity %q: the name sounds like a secret's, which mapper %q is not shown; have it give the id under another name", s.Identity, s.Mapper)
	case len(s.Fields) > 0:
		return fmt.Errorf("fields: mapper %q names the fields itself; leave them out, or use the built-in mapper", s.Mapper)
	}
	t := s.Transforms
	t.NegativeReverses, t.TimeZone = false, "" // of reports, not of the sender's text
	if t != (Transforms{}) {
		return fmt.Errorf("transforms: mapper %q gives plain decimals and whole seconds; only negative_reverses and time_zone may stand beside it", s.Mapper)
	}
	return nil
}
