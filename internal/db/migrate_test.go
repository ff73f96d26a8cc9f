package db_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
)

// bare is a database of each engine with nothing in it, not even a handle.
func bare(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	for name, url := range map[string]func(*testing.T) string{"sqlite": fileURL, "postgres": func(t *testing.T) string { return pgtest.URL(t) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, url(t))
		})
	}
}

func migrated(t *testing.T, url string) *db.DB {
	t.Helper()
	d := open(t, url)
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return d
}

// schema describes what an engine holds in words that are the same on both.
// goose's own tables are not part of it.
func schema(t *testing.T, d *db.DB) []string {
	t.Helper()
	queries := []string{sqliteColumns, sqliteIndices}
	if d.Engine() == db.Postgres {
		queries = []string{postgresColumns, postgresIndices}
	}
	var out []string
	for _, q := range queries {
		for _, line := range column[string](t, d, q) {
			if !strings.Contains(line, "goose") {
				out = append(out, line)
			}
		}
	}
	slices.Sort(out)
	return out
}

const sqliteColumns = `
SELECT 'column ' || m.name || '.' || c.name || ' ' || lower(c.type) || CASE WHEN c."notnull" = 1 THEN ' not null' ELSE '' END
	|| CASE WHEN c.dflt_value IS NULL THEN '' ELSE ' default ' || c.dflt_value END
FROM sqlite_schema m JOIN pragma_table_info(m.name) c
WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`

// A collation other than "C" would sort and compare text differently than
// SQLite does: it shows as another type.
const postgresColumns = `
SELECT 'column ' || table_name || '.' || column_name || ' '
	|| CASE data_type WHEN 'bigint' THEN 'integer' WHEN 'bytea' THEN 'blob' ELSE data_type END
	|| CASE WHEN data_type = 'text' AND collation_name IS DISTINCT FROM 'C' THEN ' of another collation' ELSE '' END
	|| CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END
	|| CASE WHEN column_default IS NULL THEN '' ELSE ' default ' || replace(column_default, '::text', '') END
FROM information_schema.columns WHERE table_schema = current_schema()`

// An index's name counts where it is told to somebody, in db.ConflictError;
// primary keys are named by the engines.
const sqliteIndices = `
SELECT CASE WHEN i.origin = 'pk' THEN 'primary key' WHEN i."unique" = 1 THEN 'unique index ' || i.name ELSE 'index ' || i.name END
	|| ' on ' || m.name || ' ('
	|| (SELECT group_concat(name, ', ') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) || ')'
	|| CASE WHEN i.partial = 1 THEN ' where ' || substr(x.sql, instr(x.sql, ' WHERE ') + 7) ELSE '' END
FROM sqlite_schema m JOIN pragma_index_list(m.name) i LEFT JOIN sqlite_schema x ON x.name = i.name
WHERE m.type = 'table'
UNION ALL -- a key that SQLite keeps in the table itself
SELECT 'primary key on ' || m.name || ' (' || c.name || ')'
FROM sqlite_schema m JOIN pragma_table_info(m.name) c
WHERE m.type = 'table' AND c.pk = 1 AND NOT EXISTS (SELECT 1 FROM pragma_index_list(m.name) i WHERE i.origin = 'pk')`

const postgresIndices = `
SELECT CASE WHEN i.indisprimary THEN 'primary key' WHEN i.indisunique THEN 'unique index ' || x.relname ELSE 'index ' || x.relname END
	|| ' on ' || m.relname || ' ('
	|| (SELECT string_agg(a.attname, ', ' ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
		JOIN pg_attribute a ON a.attrelid = m.oid AND a.attnum = k.attnum) || ')'
	|| CASE WHEN i.indpred IS NULL THEN '' ELSE ' where ' || translate(pg_get_expr(i.indpred, m.oid), '()', '') END
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class m ON m.oid = i.indrelid
WHERE m.relnamespace = current_schema()::regnamespace`

func TestBothEnginesHaveTheSameMigrations(t *testing.T) {
	t.Parallel()
	names := map[string][]string{}
	for _, engine := range []string{"sqlite", "postgres"} {
		files, err := filepath.Glob(filepath.Join("migrations", engine, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no migrations: %v", engine, err)
		}
		for _, f := range files {
			names[engine] = append(names[engine], filepath.Base(f))
		}
	}
	if diff := cmp.Diff(names["sqlite"], names["postgres"]); diff != "" {
		t.Errorf("sqlite (-) and postgres (+) have other migrations:\n%s", diff)
	}
}

func TestBothEnginesHaveTheSameSchema(t *testing.T) {
	t.Parallel()
	lite, pg := schema(t, migrated(t, fileURL(t))), schema(t, migrated(t, pgtest.URL(t)))
	if diff := cmp.Diff(lite, pg); diff != "" {
		t.Errorf("sqlite (-) and postgres (+) differ:\n%s", diff)
	}
	// What the comparison would not see if it saw nothing.
	for _, want := range []string{
		"column users.email_key text not null",
		"column users.disabled_at integer",
		"column outbox.sealed blob not null",
		"primary key on sessions (token_hash)",
		"primary key on session_epoch (one)",
		"unique index users_email_key on users (email_key)",
		"unique index users_contact_number on users (contact_number) where contact_number_verified_at IS NOT NULL",
		"index events_target on events (target_id, at)",
	} {
		if !slices.Contains(lite, want) {
			t.Errorf("%q is not among:\n%s", want, strings.Join(lite, "\n"))
		}
	}
}

// SQLite tells the columns that clash and PostgreSQL the index: ConflictError is
// the same on both only for an index on one column that is named table_column.
func TestUniqueIndicesAreNamedAfterTheirColumn(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^unique index (\w+) on (\w+) \((\w+)\)`)
	for _, line := range schema(t, migrated(t, fileURL(t))) {
		if !strings.HasPrefix(line, "unique index") {
			continue
		}
		if m := form.FindStringSubmatch(line); m == nil || m[1] != m[2]+"_"+m[3] {
			t.Error(line)
		}
	}
}

func TestTablesOnSQLiteAreStrict(t *testing.T) {
	t.Parallel()
	d := migrated(t, fileURL(t))
	for _, table := range column[string](t, d, `SELECT name FROM pragma_table_list WHERE type = 'table' AND strict = 0 AND name NOT LIKE 'sqlite_%'`) {
		if table != "goose_db_version" {
			t.Errorf("%s takes text for a number", table)
		}
	}
}

func TestMigratingAgainChangesNothing(t *testing.T) {
	bare(t, func(t *testing.T, url string) {
		d := migrated(t, url)
		before := everything(t, d)
		if err := d.Migrate(t.Context()); err != nil {
			t.Error(err)
		}
		if err := open(t, url).Migrate(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(before, everything(t, d)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMigrationsCanBeTakenBack(t *testing.T) {
	bare(t, func(t *testing.T, url string) {
		d := migrated(t, url)
		up := schema(t, d)
		if err := d.MigrateDown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := schema(t, d); len(left) != 0 {
			t.Errorf("taken back, there is still\n%s", strings.Join(left, "\n"))
		}
		if err := d.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(up, schema(t, d)); diff != "" {
			t.Error(diff)
		}
	})
}

const versions = `SELECT version_id FROM goose_db_version ORDER BY version_id`

func TestOfManyThatMigrateAtOnceOneDoes(t *testing.T) {
	bare(t, func(t *testing.T, url string) {
		// goose's own table is there, or its making would decide the race.
		if err := migrated(t, url).MigrateDown(t.Context()); err != nil {
			t.Fatal(err)
		}
		var handles []*db.DB
		for range 8 {
			handles = append(handles, openWith(t, db.Options{URL: url, MaxConns: 4}))
		}
		within(t, 20*time.Second, "8 migrations at once", func() {
			parallel(2*len(handles), func(i int) { // two on each handle
				if err := handles[i/2].Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
		got := column[int](t, handles[0], versions)
		if once := slices.Compact(slices.Clone(got)); len(got) < 2 || len(once) != len(got) {
			t.Errorf("the versions applied are %d", got)
		}
		if got := column[int](t, handles[0], `SELECT epoch FROM session_epoch`); !slices.Equal(got, []int{0}) {
			t.Errorf("what the migration inserts is there as %d", got)
		}
	})
}

func TestMigrateMayBeCalledAtOnceInMemory(t *testing.T) {
	t.Parallel()
	d := open(t, "sqlite::memory:")
	parallel(8, func(int) {
		if err := d.Migrate(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if got := column[int](t, d, `SELECT epoch FROM session_epoch`); !slices.Equal(got, []int{0}) {
		t.Errorf("what the migration inserts is there as %d", got)
	}
}

func TestDatabaseOfANewerProgramIsRefusedAndKept(t *testing.T) {
	bare(t, func(t *testing.T, url string) {
		d := migrated(t, url)
		applied := `TRUE`
		if d.Engine() == db.SQLite {
			applied = `1`
		}
		mustExec(t, d, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, `+applied+`)`)
		mustExec(t, d, `DROP INDEX users_created`) // the newer program knows better
		before := everything(t, d)
		err := d.Migrate(t.Context())
		if !errors.Is(err, db.ErrNewer) || errors.Is(err, db.ErrUnavailable) {
			t.Errorf("migrated: %v", err)
		}
		if diff := cmp.Diff(before, everything(t, d)); diff != "" {
			t.Error(diff)
		}
	})
}

// everything is the schema and what a migration could have changed.
func everything(t *testing.T, d *db.DB) []string {
	t.Helper()
	return slices.Concat(schema(t, d),
		column[string](t, d, `SELECT 'version ' || version_id || ' at ' || tstamp FROM goose_db_version ORDER BY id`),
		column[string](t, d, `SELECT 'epoch ' || epoch FROM session_epoch`))
}

func TestMigrationThatAnotherProgramHoldsIsWaitedForAsLongAsTheCallerLikes(t *testing.T) {
	t.Parallel()
	url := fileURL(t)
	d := open(t, url)
	lock, err := os.OpenFile(strings.TrimPrefix(url, "sqlite:")+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	within(t, 2*time.Second, "the wait for the lock", func() {
		if err := d.Migrate(ctx); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("while another holds the lock: %v", err)
		}
	})
	time.AfterFunc(200*time.Millisecond, func() { _ = lock.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Errorf("after the other let go: %v", err)
	}
}

func TestMigrationOfACutOffServerIsUnavailable(t *testing.T) {
	t.Parallel()
	d, _, gate := gated(t)
	gate.Cut()
	if err := d.Migrate(t.Context()); !errors.Is(err, db.ErrUnavailable) {
		t.Error(err)
	}
}
