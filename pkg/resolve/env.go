package resolve

import (
	"context"
	"fmt"
	"os"
	"time"
)

// env names an environment variable of the daemon.
type env string

func (e env) given() bool         { return e != "" }
func (e env) check(*checker)      {}
func (e env) ttl() time.Duration  { return 0 }
func (e env) fetcher(Env) fetcher { return e }

func (e env) fetch(context.Context) (string, time.Time, error) {
	s, ok := os.LookupEnv(string(e))
	if !ok {
		return "", time.Time{}, fmt.Errorf("the environment variable %s is not set", string(e))
	}
	return s, time.Time{}, nil
}
