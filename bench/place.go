package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// places makes homes for one server each: a directory, and on PostgreSQL a
// schema of its own. remove takes them all away again.
type places struct {
	root   string
	server string // postgres://…; "" for a SQLite file
	made   []string
}

func newPlaces(parent, server string) (*places, error) {
	root, err := os.MkdirTemp(parent, "propusk-bench-")
	return &places{root: root, server: server}, err
}

// place is where a server keeps its data.
type place struct {
	dir      string
	database string // the setting
}

func (p *places) fresh(ctx context.Context) (place, error) {
	dir, err := os.MkdirTemp(p.root, "data-")
	if err != nil {
		return place{}, err
	}
	if p.server == "" {
		return place{dir: dir, database: "sqlite:" + filepath.Join(dir, "propusk.db")}, nil
	}
	schema := "propusk_bench_" + strings.ToLower(rand.Text())
	if err := p.exec(ctx, "CREATE SCHEMA "+schema); err != nil {
		return place{}, err
	}
	p.made = append(p.made, schema)
	database, err := inSchema(p.server, schema)
	return place{dir: dir, database: database}, err
}

func inSchema(server, schema string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", errors.New("-database: not a URL") // url.Parse's own words would hold the password
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (p *places) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, p.server)
	if err != nil {
		return fmt.Errorf("-database: %w", err)
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// remove runs also when the run was broken off.
func (p *places) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var errs []error
	for _, schema := range p.made {
		errs = append(errs, p.exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE"))
	}
	return errors.Join(append(errs, os.RemoveAll(p.root))...)
}
