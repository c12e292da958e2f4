package clickhouse

import (
	"context"
	"fmt"
)

// part is what one INSERT takes: rows of one day for one table, in order of
// change_seq. ClickHouse stores it whole or not at all.
type part struct {
	table, day string
	rows       []*row
}

// partsOf sorts the rows of a range into parts, always the same. Of an event
// that has several revisions in the range activity_log gets the newest only,
// as it would keep only that; activity_interim gets all that are not final.
func partsOf(rows []row) []*part {
	newest := make(map[[3]int64]int64, len(rows))
	for i := range rows {
		newest[rows[i].event()] = rows[i].changeSeq
	}
	var list []*part
	byName := map[[2]string]*part{}
	add := func(table, day string, r *row) {
		p := byName[[2]string{table, day}]
		if p == nil {
			p = &part{table: table, day: day}
			byName[[2]string{table, day}] = p
			list = append(list, p)
		}
		p.rows = append(p.rows, r)
	}
	for i := range rows {
		r := &rows[i]
		day := r.day()
		if newest[r.event()] == r.changeSeq {
			add(tableLog, day, r)
		}
		if r.final == 0 {
			add(tableInterim, day, r)
		}
	}
	return list
}

func (r *row) event() [3]int64 { return [3]int64{r.stream, r.seq, r.n} }

// holds tells whether the rows of p came in under the name batch. Fewer than
// all means that later revisions have replaced some already, or that days were
// dropped: sending p again does no harm then, for the rows are the same.
func (s *Server) holds(ctx context.Context, p *part, batch int64) (bool, error) {
	var rows uint64
	err := s.row(ctx, "look for a range whose answer was lost",
		fmt.Sprintf("SELECT count() FROM %s WHERE toDate(received_at) = '%s' AND batch = %d", p.table, p.day, batch), &rows)
	return rows >= uint64(len(p.rows)), err
}
