package daemon

import (
	"context"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// audit implements api.Audit.
type audit struct{ *triggers }

func (a audit) Note(ctx context.Context, e api.AuditEntry) error {
	return a.store.Note(context.WithoutCancel(ctx), store.AuditEntry(e))
}

func (a audit) Entries(ctx context.Context, before int64, limit int) ([]api.AuditEntry, error) {
	all, err := a.store.Audit(ctx, before, limit)
	out := make([]api.AuditEntry, len(all))
	for i, e := range all {
		out[i] = api.AuditEntry(e)
	}
	return out, a.told(err)
}
