package db_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"propusk/internal/db"
)

// With many writers, each pays for a part of a sync only.
func BenchmarkTx(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			d, err := db.Open(b.Context(), db.Options{URL: "sqlite:" + filepath.Join(b.TempDir(), "bench.db")})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close() //nolint:errcheck // other tests look at that
			mustExec(b, d, things)
			var left, n atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			parallel(writers, func(int) {
				for left.Add(-1) >= 0 {
					name := fmt.Sprintf("%016d", n.Add(1)*7919%1_000_000_007)
					if _, err := d.Exec(b.Context(), insertThing, name, nil); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
