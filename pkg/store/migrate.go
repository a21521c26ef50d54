package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/waltrigger/waltrigger/pkg/failpoint"
)

// Migrations are named NNNN_what.<dialect>.sql; a number may have nothing to do in some
// dialects. In MySQL each statement commits by itself, so those of .mysql.sql must bear
// to be run again after a crash in between.
//
//go:embed migrations/*.sql
var migrations embed.FS

// versionTable keeps the version of the schema, and marks it as ours.
const versionTable = "waltrigger_version"

// dialectFS shows only the migrations of one dialect.
type dialectFS struct {
	fs.ReadDirFS
	suffix string // ".sqlite.sql"
}

func (d dialectFS) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := d.ReadDirFS.ReadDir(name)
	var own []fs.DirEntry
	for _, e := range all {
		if strings.HasSuffix(e.Name(), d.suffix) {
			own = append(own, e)
		}
	}
	return own, err
}

// migrate brings the schema up to date. A schema of a later version is left alone and
// is an error: it may mean what this one does not know.
func migrate(ctx context.Context, db *pool) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	p, err := goose.NewProvider(db.d.goose, db.DB, dialectFS{sub.(fs.ReadDirFS), db.d.suffix}, goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	has, knows, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if has > knows {
		return fmt.Errorf("the schema has version %d and this program knows up to %d: a newer waltrigger wrote it; run that one, or give this one a store of its own", has, knows)
	}
	for {
		_, err := p.UpByOne(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("migrate schema from version %d to %d: %w", has, knows, err)
		}
		failpoint.Hit("store.migrated")
	}
}
