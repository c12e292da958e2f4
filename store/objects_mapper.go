package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// Limits of mappers.
const (
	MapperModuleBytesMax  = 4 << 20  // of one module
	MapperVectorsBytesMax = 1 << 20  // of one version's vectors
	MapperConfigBytesMax  = 16 << 10 // of one version's configuration
	MapperVerdictBytesMax = 1 << 20  // of what admission found
	MapperVersionsMax     = 1000     // of one mapper; numbers are not given twice
	MapperBytesMax        = 1 << 30  // of all that one mapper's versions keep
	MappersMax            = 10_000
	MappersPerKeyMax      = 20 // that one partner's key makes
)

// ErrState: the object is there, but not in a state in which this can be done;
// the text says what can.
var ErrState = errors.New("not in this state")

func notNow(format string, args ...any) error {
	return &fault{ErrState, fmt.Errorf(format, args...)}
}

// Tier is how much a mapper's calls may burn: admission knows the figures.
type Tier string

// Tiers.
const (
	TierStandard Tier = "standard"
	TierLarge    Tier = "large" // for languages that bring a runtime; an operator grants it
)

// MapperState is where a version stands.
//
//	push ─► uploaded ─► admitted ─► active ◄─► retired
//	            ▲ └───► refused
//	            └── push ──┘
type MapperState string

// States of a version.
const (
	MapperUploaded MapperState = "uploaded" // on disk, admission has not ended; the same push takes it up again
	MapperAdmitted MapperState = "admitted" // may be activated
	MapperRefused  MapperState = "refused"  // by admission; the verdict says why, the module is not kept
	MapperActive   MapperState = "active"   // maps for sources that name the mapper without a version
	MapperRetired  MapperState = "retired"  // was active; may be again
)

// runs tells whether a version of this state may map: it was admitted.
func (s MapperState) runs() bool {
	return s == MapperAdmitted || s == MapperActive || s == MapperRetired
}

// MapperUpload is what is pushed as one version. The store copies none of it
// and keeps no reference.
type MapperUpload struct {
	Code    []byte // the module
	Config  []byte // for its mapper_v1_init; empty is none
	Vectors []byte // archive of test vectors; empty is none
}

// MapperInfo is a mapper as an operator sees it. Active, Previous and Shadow
// are numbers of versions, 0 is none.
type MapperInfo struct {
	Name      string    `json:"name"`
	Tier      Tier      `json:"tier"`
	Active    int       `json:"active"`
	Previous  int       `json:"previous"` // what a roll-back makes active
	Shadow    int       `json:"shadow"`   // runs beside the active one
	Sources   []string  `json:"sources"`  // live ones that name it, with or without a version, by id
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`

	madeBy int64
}

// MapperVersion is one version of a mapper.
type MapperVersion struct {
	Mapper       string          `json:"mapper"`
	Version      int             `json:"version"`
	State        MapperState     `json:"state"`
	Tier         Tier            `json:"tier"`   // under which it is admitted
	SHA256       string          `json:"sha256"` // of the module, in hexadecimal digits
	Bytes        int             `json:"bytes"`  // of the module
	HasConfig    bool            `json:"has_config"`
	VectorsBytes int             `json:"vectors_bytes"`
	FuelLimit    int64           `json:"fuel_limit"` // a call may burn; 0 until it is admitted
	PushedBy     string          `json:"pushed_by"`
	CreatedAt    time.Time       `json:"created_at"`
	UpdatedAt    time.Time       `json:"updated_at"`
	Verdict      json.RawMessage `json:"verdict,omitempty"` // of admission, nil until there is one and in listings

	live [32]byte
}

// MapperDetail is a mapper with its versions, the newest first, without their
// verdicts.
type MapperDetail struct {
	MapperInfo
	Versions []MapperVersion `json:"versions"`
}

// MapperDigest names what a version runs, wherever its bytes lie: the SHA-256,
// in hexadecimal digits, of
//
//	module's length   8 bytes, little endian
//	module            …
//	configuration     …
func MapperDigest(code, config []byte) string {
	d := liveDigest(code, config)
	return hex.EncodeToString(d[:])
}

func liveDigest(code, config []byte) [32]byte {
	h := sha256.New()
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(code))))
	h.Write(code)
	h.Write(config)
	return [32]byte(h.Sum(nil))
}

// uploadDigest names a push: what runs, the vectors, and the tier, since
// another tier may find differently.
func uploadDigest(live [32]byte, vectors []byte, tier Tier) [32]byte {
	h := sha256.New()
	h.Write(live[:])
	fmt.Fprintf(h, "%s\n", tier)
	h.Write(vectors)
	return [32]byte(h.Sum(nil))
}

// checkMapperName wants a name that a source can name.
func checkMapperName(name string) error {
	_, version, err := source.ParseMapper(name)
	if err == nil && version != 0 {
		err = fmt.Errorf("mapper %q: leave out the @%d, versions are numbered by the store", name, version)
	}
	return asInvalid(err)
}

// mapperObject names a version, or with version 0 the mapper, for the audit.
func mapperObject(name string, version int) string {
	if version == 0 {
		return "mapper/" + name
	}
	return fmt.Sprintf("mapper/%s@%d", name, version)
}

const mapperColumns = `m.name, m.tier, m.active, m.previous, m.shadow, m.made_by, m.created_by, m.created_at, m.updated_at`

// scanner is a row, or rows.
type scanner interface{ Scan(dest ...any) error }

func scanMapper(row scanner) (m MapperInfo, err error) {
	var created, updated int64
	err = row.Scan(&m.Name, &m.Tier, &m.Active, &m.Previous, &m.Shadow, &m.madeBy, &m.CreatedBy, &created, &updated)
	m.CreatedAt, m.UpdatedAt = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	m.Sources = []string{}
	return m, err
}

// readMapper reads one mapper without its sources, or gives ErrNotFound with
// the name that may have been meant.
func readMapper(ctx context.Context, tx *sql.Tx, name string) (MapperInfo, error) {
	m, err := scanMapper(tx.QueryRowContext(ctx, `SELECT `+mapperColumns+` FROM mapper m WHERE m.name = $1`, name))
	if !errors.Is(err, sql.ErrNoRows) {
		return m, err
	}
	return m, unknownMapper(ctx, tx, name)
}

// unknownMapper is the ErrNotFound of a name.
func unknownMapper(ctx context.Context, tx *sql.Tx, name string) error {
	names, err := texts(ctx, tx, `SELECT name FROM mapper ORDER BY name LIMIT $1`, MappersMax)
	if err != nil {
		return fmt.Errorf("read the mappers' names: %w", err)
	}
	return notFound("mapper %q is not known%s", cut(name), didYouMean(name, names))
}

const versionColumns = `v.mapper, v.version, v.state, v.tier, v.live, v.module, v.bytes, v.config, v.vectors, v.fuel_limit, v.pushed_by, v.created_at, v.updated_at`

func scanVersion(row scanner, more ...any) (v MapperVersion, err error) {
	var live, module []byte
	var config int
	var created, updated int64
	err = row.Scan(append([]any{&v.Mapper, &v.Version, &v.State, &v.Tier, &live, &module, &v.Bytes, &config, &v.VectorsBytes,
		&v.FuelLimit, &v.PushedBy, &created, &updated}, more...)...)
	if err != nil {
		return v, err
	}
	if v.live, err = digestOf(live); err != nil {
		return v, fmt.Errorf("mapper %s@%d: %w", v.Mapper, v.Version, err)
	}
	v.SHA256, v.HasConfig = hex.EncodeToString(module), config > 0
	v.CreatedAt, v.UpdatedAt = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	return v, nil
}

// readVersion reads one version of a mapper that is there, with its verdict,
// or gives ErrNotFound with the newest one's number.
func readVersion(ctx context.Context, tx *sql.Tx, name string, version int) (MapperVersion, error) {
	var verdict string
	v, err := scanVersion(tx.QueryRowContext(ctx, `SELECT `+versionColumns+`, v.verdict FROM mapper_version v
		WHERE v.mapper = $1 AND v.version = $2`, name, version), &verdict)
	switch {
	case err == nil && verdict != "":
		v.Verdict = json.RawMessage(verdict)
		return v, nil
	case !errors.Is(err, sql.ErrNoRows):
		return v, err
	}
	var newest int
	if err := tx.QueryRowContext(ctx, `SELECT newest FROM mapper WHERE name = $1`, name).Scan(&newest); err != nil {
		return v, err
	}
	return v, notFound("mapper %s has no version %d: the newest is %d", name, version, newest)
}
