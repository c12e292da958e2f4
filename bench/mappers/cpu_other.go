//go:build !unix

package mappers

import (
	"errors"
	"time"
)

func processorTime() (time.Duration, error) {
	return 0, errors.New("processor time is not measured on this system: run the bench on Linux")
}
