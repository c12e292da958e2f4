package console

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// reach is what a partner's key may do with a route. An admin's key passes
// every one.
type reach uint8

const (
	reachNothing  reach = iota // partners are refused
	reachAny                   // answers by itself with what is the key's own
	reachMapper                // when {name} is one of the key's mappers
	reachPush                  // the same, or when there is no such mapper yet
	reachActivate              // as reachMapper, when the key may activate
	reachSource                // when {id} is one of the key's sources
)

// authenticate finds the key of a request by its digest, so that neither the
// comparison nor the store ever holds the key itself, and names who made the
// request as the audit writes it: the key's name, "@", the peer's address or
// "local" for a call inside the process.
func (c *Console) authenticate(r *http.Request) (key store.Key, actor string, err error) {
	scheme, text, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	text = strings.TrimSpace(text)
	if !ok || !strings.EqualFold(scheme, "Bearer") || text == "" {
		return key, "", refuse(http.StatusUnauthorized, "key_missing",
			"this needs a key: send the header \"Authorization: Bearer KEY\"; the first start of a node writes one to admin.key in its data folder")
	}
	hash := source.HashToken([]byte(text))
	key, ok, err = c.cfg.Objects.KeyByHash(r.Context(), hash)
	if errors.Is(err, store.ErrUnavailable) && c.cfg.Keys != nil {
		key, ok = c.cfg.Keys(hash) // so that the node's state can be seen meanwhile
		err = nil
	}
	switch {
	case err != nil:
		return key, "", err
	case !ok:
		return key, "", refuse(http.StatusUnauthorized, "key_unknown",
			"the key is not known to this store: check that it is the admin.key of this node's data folder, or the key that the operator gave you")
	}
	return key, key.Name + "@" + peerOf(r), nil
}

// authorize decides whether a key may pass a route. This is the one place that
// does; handlers that answer partners with a part of what there is ask the key
// for its scope.
func (c *Console) authorize(rt *route, r *request) error {
	switch r.key.Role {
	case store.RoleAdmin:
		return nil
	case store.RolePartner:
		return c.authorizePartner(rt, r)
	}
	return refuse(http.StatusForbidden, "role_unknown",
		"key %q has the role %q, which this build does not know: use a key with the role %q or %q", r.key.Name, r.key.Role, store.RoleAdmin, store.RolePartner)
}

func (c *Console) authorizePartner(rt *route, r *request) error {
	switch rt.partner {
	case reachAny:
		return nil
	case reachPush:
		_, err := c.cfg.Objects.TierToPush(r.Context(), r.key.Scope(), r.PathValue("name"))
		return err
	case reachActivate:
		if !r.key.MayActivate {
			return refuse(http.StatusForbidden, "forbidden", "key %q may push and test mappers but not activate them: ask the operator to activate this one, or for a key that may", r.key.Name)
		}
		fallthrough
	case reachMapper:
		return c.cfg.Objects.ReachMapper(r.Context(), r.key.Scope(), r.PathValue("name"))
	case reachSource:
		if id := r.PathValue("id"); !slices.Contains(r.key.Sources, id) {
			return refuse(http.StatusForbidden, "forbidden", "source %q is not one of key %q, which has %s: ask the operator", clip(id), r.key.Name, clip(strings.Join(r.key.Sources, ", ")))
		}
		return nil
	}
	return refuse(http.StatusForbidden, "forbidden", "key %q has the role %q, which reaches mappers of its own sources and nothing else: ask the operator", r.key.Name, r.key.Role)
}

func peerOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "local"
	}
	return host
}
