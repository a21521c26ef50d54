package django

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Daemon is the API of a running daemon.
type Daemon struct {
	URL   string // http://127.0.0.1:8080
	Token string // "" where the daemon asks for none
}

const (
	applyTimeout = 30 * time.Second
	maxAnswer    = 4 << 20
)

// problem is an answer of the API that refuses.
type problem struct {
	Title, Detail string
	Errors        []struct{ Pointer, Detail string }
}

// Apply gives the trigger to the daemon, under its name: one of that name is replaced.
// What the daemon has against it is noted; an error says that it could not be asked.
func (d Daemon) Apply(ctx context.Context, t *Trigger) error {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	address := strings.TrimSuffix(d.URL, "/") + "/api/action-triggers/by-name/" + url.PathEscape(t.Name)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, address, bytes.NewReader(t.Body))
	if err != nil {
		return fmt.Errorf("apply %s: %w", t.Name, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if d.Token != "" {
		req.Header.Set("Authorization", "Bearer "+d.Token)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("apply %s: %w", t.Name, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("apply %s: %w", t.Name, err)
	}
	return t.answered(resp.StatusCode, answer)
}

// answered takes in what the daemon says.
func (t *Trigger) answered(status int, answer []byte) error {
	var p problem
	switch status {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted:
		return nil
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
	default:
		_ = json.Unmarshal(answer, &p) // what is no problem has nothing to say
		return fmt.Errorf("apply %s: the daemon answers %d %s", t.Name, status, p.Detail)
	}
	if err := json.Unmarshal(answer, &p); err != nil {
		return errors.New("apply " + t.Name + ": the answer is not that of a waltrigger")
	}
	for _, e := range p.Errors {
		t.Refuse(e.Pointer, e.Detail)
	}
	if len(p.Errors) == 0 {
		t.Refuse("", p.Detail)
	}
	return nil
}
