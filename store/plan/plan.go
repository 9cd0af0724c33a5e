package plan

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"candela/store"
)

// Options say what a search may cost and what things cost on this engine. Zero
// fields take the defaults.
type Options struct {
	Deadline time.Duration // of one Find; default 30 s
	Budget   int64         // index entries one Find may read, a record counting as RowCost; default 50 million
	RowCost  int64         // reading one forward record, in index entries; default 20
	SeekCost int64         // starting a scan elsewhere, in index entries; default 20; some hundred over a network
	Batch    int           // forward records asked for at once; default 1,000
}

func (o Options) filled() Options {
	if o.Deadline == 0 {
		o.Deadline = 30 * time.Second
	}
	if o.Budget == 0 {
		o.Budget = 50_000_000
	}
	if o.RowCost == 0 {
		o.RowCost = 20
	}
	if o.SeekCost == 0 {
		o.SeekCost = 20
	}
	if o.Batch == 0 {
		o.Batch = 1_000
	}
	return o
}

// Planner answers queries on one engine.
type Planner struct {
	engine Engine
	opt    Options
}

// New makes a planner.
func New(engine Engine, opt Options) *Planner {
	return &Planner{engine: engine, opt: opt.filled()}
}

// Find answers q on a snapshot of its own. Errors: ErrQuery, ErrCursor,
// ErrTooCostly (naming the parameter that was being read), and what the engine gives.
func (p *Planner) Find(ctx context.Context, q store.Query) (store.Page, error) {
	snap, err := p.engine.Snapshot(ctx)
	if err != nil {
		return store.Page{}, err
	}
	page, err := p.FindIn(ctx, snap, q)
	return page, errors.Join(err, snap.Close())
}

// FindIn answers q on an open snapshot, such as that of a transaction.
func (p *Planner) FindIn(ctx context.Context, snap Snapshot, q store.Query) (store.Page, error) {
	if err := check(q); err != nil {
		return store.Page{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.opt.Deadline, errDeadline)
	defer cancel()
	r := &run{ctx: ctx, snap: snap, opt: p.opt, q: q, top: snap.Top(), held: map[field]bool{}}
	var page store.Page
	var err error
	if r.where, err = r.grown(q.Where); err == nil {
		page, err = r.page()
	}
	return page, r.explained(err)
}

func check(q store.Query) error {
	if q.Count < 0 {
		return fmt.Errorf("count %d is negative: %w", q.Count, store.ErrQuery)
	}
	for _, s := range q.Sort {
		if s.Param == "" {
			return fmt.Errorf("a sort without parameter: %w", store.ErrQuery)
		}
	}
	return store.Check(q.Where, true)
}

var errDeadline = errors.New("deadline of the search")

// run is one Find.
type run struct {
	ctx     context.Context
	snap    Snapshot
	opt     Options
	q       store.Query
	where   store.Expr     // of q, its trees walked
	top     store.RID      // rows above are newer than the first page
	reading string         // the parameter whose index is being read
	held    map[field]bool // whether the index of a field has hits
	spent   int64
	explain store.Explain
}

// field is all of what one parameter has in an index.
type field struct {
	index Index
	hash  uint64
}

// scanned counts index entries, examined forward records.
func (r *run) scanned(n int) error {
	r.explain.Scanned += int64(n)
	return r.spend(int64(n))
}

func (r *run) examined(n int) error {
	r.explain.Examined += int64(n)
	return r.spend(int64(n) * r.opt.RowCost)
}

func (r *run) spend(n int64) error {
	if r.spent += n; r.spent > r.opt.Budget {
		return fmt.Errorf("%s: %w", r.reading, store.ErrTooCostly)
	}
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return nil
}

// explained makes our deadline and a caller's cancelled context known errors.
func (r *run) explained(err error) error {
	switch {
	case err == nil || r.ctx.Err() == nil:
		return err
	case errors.Is(context.Cause(r.ctx), errDeadline):
		return fmt.Errorf("%s: not done in %v: %w", r.reading, r.opt.Deadline, store.ErrTooCostly)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, r.ctx.Err())
}

// rows reads forward records in batches and hands them on.
func (r *run) rows(rids []store.RID) ([]Row, error) {
	if len(rids) == 0 {
		return nil, nil
	}
	if err := r.examined(len(rids)); err != nil {
		return nil, err
	}
	return r.snap.Rows(r.ctx, rids)
}

// arms gives one arm for each type of the query.
func (r *run) arms() ([]*arm, error) {
	types, err := r.types()
	if err != nil {
		return nil, err
	}
	arms := make([]*arm, 0, len(types))
	seen := map[string]bool{}
	for _, typ := range types {
		if seen[typ] {
			continue
		}
		seen[typ] = true
		if a := newArm(r, typ, r.where); !a.never() {
			arms = append(arms, a)
		}
	}
	return arms, nil
}

// types are those of the query; of many, those that there are at all.
func (r *run) types() ([]string, error) {
	const many = 4
	if n := len(r.q.Types); n > 0 && n <= many {
		return r.q.Types, nil
	}
	known, err := r.snap.Types(r.ctx)
	if len(r.q.Types) == 0 || err != nil {
		return known, err
	}
	return slices.DeleteFunc(slices.Clone(r.q.Types), func(typ string) bool { return !slices.Contains(known, typ) }), nil
}

func (r *run) page() (store.Page, error) {
	page := store.Page{Total: -1}
	at, err := openCursor(r.q)
	if err != nil {
		return page, err
	}
	if at.top != 0 && at.top < r.top {
		r.top = at.top
	}
	arms, err := r.arms()
	if err != nil {
		return page, err
	}
	if r.q.Count > 0 {
		err = r.fill(&page, arms, at)
	}
	if page.Next != "" && r.q.Of > 0 {
		page.Last = r.sealEnd()
	}
	if err == nil && (r.q.Total || r.q.Count == 0) {
		err = r.total(&page, arms)
	}
	page.Explain = r.explain
	return page, err
}

// fill finds the rows of the page and the cursors around it.
func (r *run) fill(page *store.Page, arms []*arm, at cursor) error {
	top := newTop(r.q, at, r.top)
	for _, a := range arms {
		if err := a.collect(top); err != nil {
			return err
		}
	}
	items := top.sorted()
	more := top.full()
	items = items[:min(len(items), top.size-1)]
	bodies, room, err := r.bodies(items)
	if err != nil {
		return err
	}
	if room < len(items) {
		items, more = items[:room], true
	}
	if at.back {
		for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
			items[i], items[j] = items[j], items[i]
		}
	}
	if len(items) > 0 {
		next, prev := more, at.set
		if at.back {
			next, prev = at.end == 0, more
		}
		if next {
			page.Next = r.sealCursor(items[len(items)-1], false)
		}
		if prev {
			page.Prev = r.sealCursor(items[0], true)
		}
	}
	return r.versions(page, items, bodies)
}

// How many bodies are read at once where a page is bounded by bytes: so many at
// first, then as many as will probably have room.
const (
	firstBodies = 64
	mostBodies  = 1024
)

// bodies reads the bodies of a page, at once where it is not bounded by bytes.
// room is how many of the items the page has room for, 1 at least.
func (r *run) bodies(items []*item) (bodies map[store.RID]store.Version, room int, err error) {
	if r.q.NoRaw {
		return nil, len(items), nil
	}
	bodies = make(map[store.RID]store.Version, len(items))
	size, used := len(items), 0
	if r.q.Bytes > 0 {
		size = min(size, firstBodies)
	}
	for room < len(items) {
		part := items[room:min(room+size, len(items))]
		if err := r.read(bodies, part); err != nil {
			return nil, 0, err
		}
		for _, it := range part {
			n := len(bodies[it.row.RID].Raw)
			if r.q.Bytes > 0 && room > 0 && used+n > r.q.Bytes {
				return bodies, room, nil
			}
			used += n
			room++
		}
		size = min(max((r.q.Bytes-used)/(used/room+1), 1), mostBodies)
	}
	return bodies, room, nil
}

func (r *run) read(bodies map[store.RID]store.Version, items []*item) error {
	rids := make([]store.RID, 0, len(items))
	for _, it := range items {
		rids = append(rids, it.row.RID)
	}
	found, err := r.snap.Bodies(r.ctx, rids)
	for i := range found {
		bodies[found[i].RID] = found[i]
	}
	return err
}

// versions turns rows into versions.
func (r *run) versions(page *store.Page, items []*item, bodies map[store.RID]store.Version) error {
	for _, it := range items {
		v, ok := bodies[it.row.RID]
		if !ok && !r.q.NoRaw {
			return fmt.Errorf("%v has an index but no body: %w", it.row.Key, store.ErrCorrupt)
		}
		v, err := r.version(v, &it.row)
		if err != nil {
			return err
		}
		page.Versions = append(page.Versions, v)
	}
	return nil
}

func (r *run) version(v store.Version, row *Row) (store.Version, error) {
	if r.q.NoRaw {
		v = store.Version{Key: row.Key, RID: row.RID, Number: row.Number, Seq: row.Seq, Time: row.Time, Action: store.Put}
		if row.Number == 1 {
			v.Action = store.Create
		}
	}
	if !r.q.Entries {
		return v, nil
	}
	var err error
	v.Entries, err = row.All()
	return v, err
}

// cursor is a place between two rows of one query.
type cursor struct {
	set  bool // false: the first page
	back bool // towards the start
	end  int  // of the last page: it has so many rows, and at is behind them all
	top  store.RID
	at   position
}

// position is where a row stands in the order of the query.
type position struct {
	keys []sortKey
	rid  store.RID
}

type sortKey struct {
	text string
	ok   bool
}

const (
	cursorFormat = 1
	atEnd        = 2 // the direction byte of the last page
)

// sealCursor writes the place at an item: format, query, direction, newest rid,
// the item's sort keys and rid, a checksum. Keeping it secret is for others.
func (r *run) sealCursor(it *item, back bool) string {
	b := []byte{cursorFormat, 0}
	if back {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, hashOfQuery(r.q))
	b = binary.AppendUvarint(b, uint64(r.top))
	b = binary.AppendUvarint(b, uint64(it.at.rid))
	for _, k := range it.at.keys {
		if !k.ok {
			b = append(b, 0)
			continue
		}
		b = appendText(append(b, 1), k.text)
	}
	b = binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// sealEnd writes the place behind the last row, and how many rows are left there
// when all pages before are full.
func (r *run) sealEnd() string {
	size := int64(r.q.Count)
	b := binary.BigEndian.AppendUint64([]byte{cursorFormat, atEnd}, hashOfQuery(r.q))
	b = binary.AppendUvarint(b, uint64(r.top))
	b = binary.AppendUvarint(b, uint64((r.q.Of-1)%size+1))
	b = binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// openCursor reads q.After; the error is ErrCursor.
func openCursor(q store.Query) (cursor, error) {
	if q.After == "" {
		return cursor{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(q.After)
	if err != nil || len(b) < 18 || b[0] != cursorFormat || b[1] > atEnd {
		return cursor{}, fmt.Errorf("unreadable: %w", store.ErrCursor)
	}
	body := b[:len(b)-8]
	if xxhash.Sum64(body) != binary.BigEndian.Uint64(b[len(body):]) {
		return cursor{}, fmt.Errorf("damaged: %w", store.ErrCursor)
	}
	if binary.BigEndian.Uint64(body[2:]) != hashOfQuery(q) {
		return cursor{}, fmt.Errorf("of another query: %w", store.ErrCursor)
	}
	rd := reader{data: body, at: 10}
	c := cursor{set: true, back: b[1] == 1, top: store.RID(rd.uvarint())}
	if b[1] == atEnd {
		c = cursor{back: true, top: c.top, end: int(min(rd.uvarint(), uint64(q.Count)))}
		if rd.bad || rd.at != len(body) || c.end == 0 {
			return cursor{}, fmt.Errorf("of another shape: %w", store.ErrCursor)
		}
		return c, nil
	}
	c.at.rid = store.RID(rd.uvarint())
	for range q.Sort {
		k := sortKey{ok: rd.byte() == 1}
		if k.ok {
			k.text = rd.text()
		}
		c.at.keys = append(c.at.keys, k)
	}
	if rd.bad || rd.at != len(body) {
		return cursor{}, fmt.Errorf("of another shape: %w", store.ErrCursor)
	}
	return c, nil
}

// hashOfQuery is a hash of all of q but After and how much a page holds: a place
// between two rows is one for pages of any size.
func hashOfQuery(q store.Query) uint64 {
	b := binary.AppendUvarint(nil, uint64(len(q.Types)))
	for _, t := range q.Types {
		b = appendText(b, t)
	}
	b = appendExpr(b, q.Where)
	b = binary.AppendUvarint(b, uint64(len(q.Sort)))
	for _, s := range q.Sort {
		b = append(appendText(b, s.Param), byte(s.Role), flag(s.Desc))
	}
	b = append(b, flag(q.Total), flag(q.Entries), flag(q.NoRaw))
	return xxhash.Sum64(b)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendExpr(b []byte, x store.Expr) []byte {
	switch x := x.(type) {
	case store.Tree:
		b = appendText(appendText(append(b, 'y', flag(x.Above)), x.Param), x.Type)
		return appendExpr(appendText(appendText(b, x.ID), x.Up), x.Of)
	case store.And:
		return appendExprs(append(b, 'a'), x)
	case store.Or:
		return appendExprs(append(b, 'o'), x)
	case store.Not:
		return appendExpr(append(b, 'n'), x.Of)
	case store.Test:
		return appendCond(append(appendText(append(b, 't'), x.Param), byte(x.Role)), &x.Cond)
	case store.Via:
		return appendExpr(appendText(appendText(append(b, 'v'), x.Param), x.Type), x.Of)
	case store.Has:
		return appendExpr(appendText(appendText(append(b, 'h'), x.Param), x.Type), x.Of)
	}
	return append(b, 'x')
}

func appendExprs(b []byte, parts []store.Expr) []byte {
	b = binary.AppendUvarint(b, uint64(len(parts)))
	for _, p := range parts {
		b = appendExpr(b, p)
	}
	return b
}

func appendCond(b []byte, c *store.Cond) []byte {
	b = append(b, byte(c.How), flag(c.HiOpen), byte(c.Unit), flag(c.Lo == nil), flag(c.Hi == nil))
	for _, s := range [...]string{c.Space, c.Name, c.Text, c.Raw, textOf(c.Lo), textOf(c.Hi)} {
		b = appendText(b, s)
	}
	b = append(b, store.OrderedFloat(c.Radius)...)
	b = binary.AppendUvarint(b, uint64(len(c.Parts)))
	for i := range c.Parts {
		b = appendCond(b, &c.Parts[i])
	}
	return b
}
