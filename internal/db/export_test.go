package db

import (
	"context"

	"github.com/pressly/goose/v3"
)

// OnWriter runs a statement on the connection that writes, which no statement
// from outside a transaction reaches. Only while nothing else writes.
func (d *DB) OnWriter(ctx context.Context, statement string) error {
	_, err := d.writer.conn.conn.ExecContext(ctx, statement)
	return err
}

// MigrateDown takes back every migration.
func (d *DB) MigrateDown(ctx context.Context) error {
	return d.migrate(ctx, func(ctx context.Context, p *goose.Provider) error {
		_, err := p.DownTo(ctx, 0)
		return err
	})
}
