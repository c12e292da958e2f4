package console

import (
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// authenticate finds the key of a request by its digest, so that neither the
// comparison nor the store ever holds the key itself, and names who made the
// request as the audit writes it: the key's name, "@", the peer's address or
// "local" for a call inside the process. This is the one place that decides
// whether a key may pass.
func (c *Console) authenticate(r *http.Request) (actor string, err error) {
	scheme, key, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	key = strings.TrimSpace(key)
	if !ok || !strings.EqualFold(scheme, "Bearer") || key == "" {
		return "", refuse(http.StatusUnauthorized, "key_missing",
			"this needs a key: send the header \"Authorization: Bearer KEY\"; the first start of a node writes one to admin.key in its data folder")
	}
	hash := source.HashToken([]byte(key))
	name, role, ok, err := c.cfg.Objects.KeyByHash(r.Context(), hash)
	if errors.Is(err, store.ErrUnavailable) && c.cfg.Keys != nil {
		name, role, ok = c.cfg.Keys(hash) // so that the node's state can be seen meanwhile
		err = nil
	}
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "", refuse(http.StatusUnauthorized, "key_unknown",
			"the key is not known to this store: check that it is the admin.key of this node's data folder")
	case role != store.RoleAdmin:
		return "", refuse(http.StatusForbidden, "role_unknown",
			"key %q has the role %q, which this build does not know: use a key with the role %q", name, role, store.RoleAdmin)
	}
	return name + "@" + peerOf(r), nil
}

func peerOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "local"
	}
	return host
}
