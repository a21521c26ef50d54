package resolve

import (
	"context"
	"fmt"
	"os"
)

// env names an environment variable of the daemon.
type env string

func (e env) fetch(context.Context) (string, error) {
	s, ok := os.LookupEnv(string(e))
	if !ok {
		return "", fmt.Errorf("the environment variable %s is not set", string(e))
	}
	return s, nil
}
