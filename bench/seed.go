package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// crowd is users with live sessions that were put into the database, not
// logged in: a million passwords would take hours to hash. The session i is of
// the user i modulo how many there are.
type crowd struct {
	tokens []string
	users  []string
}

func newCrowd(sessions, users int) crowd {
	c := crowd{tokens: make([]string, sessions), users: make([]string, users)}
	for i := range c.tokens {
		c.tokens[i] = newUUID()
	}
	for i := range c.users {
		c.users[i] = newUUID()
	}
	return c
}

// newUUID is a version 4 UUID, as tokens and ids are.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// seed puts them into the SQLite database of a program that has been stopped.
func (c crowd) seed(ctx context.Context, at place) (err error) {
	path, found := strings.CutPrefix(at.database, "sqlite:")
	if !found {
		return errors.New("only a SQLite file can be filled")
	}
	// A broken-off run leaves nothing that would have to be whole, and an index
	// that does not fit in memory makes a minute out of seconds.
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=cache_size(-1000000)"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err = errors.Join(c.insertUsers(ctx, tx), c.insertSessions(ctx, tx)); err != nil {
		return errors.Join(fmt.Errorf("fill the database: %w", err), tx.Rollback())
	}
	return tx.Commit()
}

func (c crowd) insertUsers(ctx context.Context, tx *sql.Tx) error {
	insert, err := tx.PrepareContext(ctx, `INSERT INTO users (id, email, email_key, username, username_key, user_type, user_role, version, created_at, updated_at)
		VALUES ($1, $2, $2, $3, $3, 'ind', 'Verified', 1, $4, $4)`)
	if err != nil {
		return err
	}
	defer insert.Close() //nolint:errcheck // its work is done
	now := time.Now().UnixMicro()
	for i, id := range c.users {
		if _, err := insert.ExecContext(ctx, id, fmt.Sprintf("crowd%d@example.com", i), fmt.Sprintf("crowd%d", i), now); err != nil {
			return err
		}
	}
	return nil
}

// insertSessions goes by the hash, which is the key: a million rows in no order
// take several times as long.
func (c crowd) insertSessions(ctx context.Context, tx *sql.Tx) error {
	insert, err := tx.PrepareContext(ctx, `INSERT INTO sessions
		(token_hash, id, user_id, remembered, created_at, authenticated_at, last_seen_at, expires_at, ip, user_agent)
		VALUES ($1, $2, $3, 0, $4, $4, $4, $5, '192.0.2.1', 'propusk-bench')`)
	if err != nil {
		return err
	}
	defer insert.Close() //nolint:errcheck // its work is done
	type row struct {
		hash [sha256.Size]byte
		user string
	}
	rows := make([]row, len(c.tokens))
	for i, token := range c.tokens {
		rows[i] = row{sha256.Sum256([]byte(token)), c.userOf(i)}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(string(a.hash[:]), string(b.hash[:])) })
	now := time.Now()
	for i := range rows {
		_, err := insert.ExecContext(ctx, rows[i].hash[:], newUUID(), rows[i].user, now.UnixMicro(), now.Add(24*time.Hour).UnixMicro())
		if err != nil {
			return err
		}
	}
	return nil
}

func (c crowd) userOf(session int) string { return c.users[session%len(c.users)] }

// stride leads from one session to the next that is asked for: far away, and
// back only after all the others. It is a prime, so it has no factor in common
// with their number.
const stride = 618_033_989

// checks asks for all sessions in turn, in no order that the database or the
// table in memory has. The requests are made as they are sent: a million of
// them would crowd the machine's caches. Where whose is given, all answers are
// for that user, as those of a bare server are.
func (c crowd) checks(conns int, whose string) func(int) call {
	const tokenSize = 36
	template := get("/auth/session", strings.Repeat("0", tokenSize))
	at := strings.Index(string(template), strings.Repeat("0", tokenSize))
	requests := make([][]byte, conns)
	for i := range requests {
		requests[i] = slices.Clone(template)
	}
	var n atomic.Uint64
	return func(i int) call {
		session := int(n.Add(1) * stride % uint64(len(c.tokens))) //nolint:gosec // below the number of tokens
		copy(requests[i][at:], c.tokens[session])
		id := whose
		if id == "" {
			id = c.userOf(session)
		}
		return call{request: requests[i], status: 200, want: []byte(`"user_id":"` + id + `"`)}
	}
}
