//go:build !linux

package load

import (
	"context"
	"errors"
)

// Run needs epoll, so there is none here.
func Run(context.Context, Config) (Result, error) {
	return Result{}, errors.New("the load generator needs Linux: run the bench there")
}
