package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// AuditRow is one change of one object.
type AuditRow struct {
	No     int64       `json:"no"`
	At     time.Time   `json:"at"`
	Actor  string      `json:"actor"`
	Action string      `json:"action"` // create, update, delete, rotate_token, rotate_secret, set_secret, drop_secrets, add_key, drop_key, release, reject
	Object string      `json:"object"` // kind/id
	Diff   []FieldDiff `json:"diff"`   // never a token, secret or key
}

// ListAudit lists changes, the newest first, those before the cursor after;
// next is the following page's cursor, "" on the last one.
func (o *Objects) ListAudit(ctx context.Context, after string, limit int) (list []AuditRow, next string, err error) {
	before, limit, err := numberCursor(after, math.MaxInt64, limit)
	if err != nil {
		return nil, "", err
	}
	rows, err := o.DB.Read.QueryContext(ctx, `SELECT no, at, actor, action, object, detail FROM audit WHERE no < $1 ORDER BY no DESC LIMIT $2`, before, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("list the audit: %w", outage(err))
	}
	defer rows.Close()
	for rows.Next() {
		var r AuditRow
		var at int64
		var detail []byte
		if err := rows.Scan(&r.No, &at, &r.Actor, &r.Action, &r.Object, &detail); err != nil {
			return nil, "", fmt.Errorf("list the audit: %w", outage(err))
		}
		if err := json.Unmarshal(detail, &r.Diff); err != nil {
			return nil, "", fmt.Errorf("audit row %d: %w", r.No, err)
		}
		r.At = time.UnixMicro(at).UTC()
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("list the audit: %w", outage(err))
	}
	if len(list) > limit {
		list = list[:limit]
		next = strconv.FormatInt(list[limit-1].No, 10)
	}
	return list, next, nil
}
