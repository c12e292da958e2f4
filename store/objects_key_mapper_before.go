package store

import "context"

// KeyByHash and CreateKey as they were, until their callers follow.
func (o *Objects) KeyByHash(ctx context.Context, hash [32]byte) (name, role string, ok bool, err error) {
	k, ok, err := o.FindKey(ctx, hash)
	return k.Name, k.Role, ok, err
}

func (o *Objects) CreateKey(ctx context.Context, actor, name, role string) (string, error) {
	_, plain, err := o.MakeKey(ctx, actor, KeySpec{Name: name, Role: role})
	return plain, err
}
