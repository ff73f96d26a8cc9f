package db_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"propusk/internal/db"
)

func BenchmarkTx(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			d, err := db.Open(b.Context(), db.Options{URL: "sqlite:" + filepath.Join(b.TempDir(), "bench.db")})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			mustExec(b, d, things)
			var n atomic.Int64
			b.SetParallelism(max(1, writers/2))
			run := func() {
				if err := d.Tx(b.Context(), func(tx *db.Tx) error {
					_, err := tx.Exec(b.Context(), insertThing, fmt.Sprintf("%012d", n.Add(1)*7919%1000000007), nil)
					return err
				}); err != nil {
					b.Error(err)
				}
			}
			if writers == 1 {
				for b.Loop() {
					run()
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					run()
				}
			})
		})
	}
}
