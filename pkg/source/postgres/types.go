package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// class says how the text of a type becomes a change.Value.
type class uint8

const (
	classString class = iota
	classBool
	classInt
	classFloat
	classDecimal
	classBytes
	classDate
	classTime
	classTimestamp
	classTimestampTZ
	classInterval
	classUUID
	classJSON
	classArray
	classComposite
	classHstore
	classVector // prints a JSON array itself
)

// pgType is what decoding must know of a type. Only types.load alters one that is in use.
type pgType struct {
	name   string // as format_type prints it without modifier
	class  class
	elem   *pgType // classArray
	delim  byte    // classArray
	fields []field // classComposite
	unfit  *bool   // classComposite: set when a value does not have these fields
	dirty  bool    // texts need not be UTF-8
}

type field struct {
	name string
	typ  *pgType
}

var unknownType = &pgType{name: "unknown"}

// charOID is the type "char": a byte, which version 14 sends as it is.
const charOID = 18

// builtin types by OID; those OIDs are fixed for ever. The third column is the OID of
// the array type.
var builtin = []struct {
	oid   uint32
	name  string
	array uint32
	class class
}{
	{16, "boolean", 1000, classBool},
	{17, "bytea", 1001, classBytes},
	{charOID, `"char"`, 1002, classString},
	{19, "name", 1003, classString},
	{20, "bigint", 1016, classInt},
	{21, "smallint", 1005, classInt},
	{22, "int2vector", 1006, classString},
	{23, "integer", 1007, classInt},
	{24, "regproc", 1008, classString},
	{25, "text", 1009, classString},
	{26, "oid", 1028, classInt},
	{27, "tid", 1010, classString},
	{28, "xid", 1011, classInt},
	{29, "cid", 1012, classInt},
	{30, "oidvector", 1013, classString},
	{114, "json", 199, classJSON},
	{142, "xml", 143, classString},
	{600, "point", 1017, classString},
	{601, "lseg", 1018, classString},
	{602, "path", 1019, classString},
	{603, "box", 1020, classString},
	{604, "polygon", 1027, classString},
	{628, "line", 629, classString},
	{650, "cidr", 651, classString},
	{700, "real", 1021, classFloat},
	{701, "double precision", 1022, classFloat},
	{718, "circle", 719, classString},
	{774, "macaddr8", 775, classString},
	{790, "money", 791, classString},
	{829, "macaddr", 1040, classString},
	{869, "inet", 1041, classString},
	{1033, "aclitem", 1034, classString},
	{1042, "character", 1014, classString},
	{1043, "character varying", 1015, classString},
	{1082, "date", 1182, classDate},
	{1083, "time without time zone", 1183, classTime},
	{1114, "timestamp without time zone", 1115, classTimestamp},
	{1184, "timestamp with time zone", 1185, classTimestampTZ},
	{1186, "interval", 1187, classInterval},
	{1266, "time with time zone", 1270, classTime},
	{1560, "bit", 1561, classString},
	{1562, "bit varying", 1563, classString},
	{1700, "numeric", 1231, classDecimal},
	{1790, "refcursor", 2201, classString},
	{2202, "regprocedure", 2207, classString},
	{2203, "regoper", 2208, classString},
	{2204, "regoperator", 2209, classString},
	{2205, "regclass", 2210, classString},
	{2206, "regtype", 2211, classString},
	{2950, "uuid", 2951, classUUID},
	{2970, "txid_snapshot", 2949, classString},
	{3220, "pg_lsn", 3221, classString},
	{3614, "tsvector", 3643, classString},
	{3615, "tsquery", 3645, classString},
	{3734, "regconfig", 3735, classString},
	{3769, "regdictionary", 3770, classString},
	{3802, "jsonb", 3807, classJSON},
	{3904, "int4range", 3905, classString},
	{3906, "numrange", 3907, classString},
	{3908, "tsrange", 3909, classString},
	{3910, "tstzrange", 3911, classString},
	{3912, "daterange", 3913, classString},
	{3926, "int8range", 3927, classString},
	{4072, "jsonpath", 4073, classString},
	{4089, "regnamespace", 4090, classString},
	{4096, "regrole", 4097, classString},
	{4191, "regcollation", 4192, classString},
	{4451, "int4multirange", 6150, classString},
	{4532, "nummultirange", 6151, classString},
	{4533, "tsmultirange", 6152, classString},
	{4534, "tstzmultirange", 6153, classString},
	{4535, "datemultirange", 6155, classString},
	{4536, "int8multirange", 6157, classString},
	{5038, "pg_snapshot", 5039, classString},
	{5069, "xid8", 271, classInt},
}

// extension types by name. What is absent is a string too, with a warning.
var extension = map[string]class{
	"citext": classString, "ltree": classString, "lquery": classString, "ltxtquery": classString,
	"geometry": classString, "geography": classString, "cube": classString, "seg": classString, "isbn": classString, "ean13": classString,
	"hstore": classHstore, "vector": classVector, "halfvec": classVector, "sparsevec": classString,
}

// typeLog says of each type, once, what is worth saying. Any goroutine.
type typeLog struct {
	say  func(name, why string)
	mu   sync.Mutex
	said map[uint32]bool
}

func newTypeLog(say func(name, why string)) *typeLog {
	return &typeLog{say: say, said: map[uint32]bool{}}
}

func (l *typeLog) warn(oid uint32, name, why string) {
	l.mu.Lock()
	said := l.said[oid]
	l.said[oid] = true
	l.mu.Unlock()
	if !said {
		l.say(name, why)
	}
}

// types knows the types of one database. It belongs to one goroutine.
type types struct {
	byOID map[uint32]*pgType
	log   *typeLog
	unfit bool // a value did not have the fields of its composite type
	dirty bool
}

func newTypes(log *typeLog) *types {
	t := &types{byOID: make(map[uint32]*pgType, 3*len(builtin)), log: log}
	for _, b := range builtin {
		elem := &pgType{name: b.name, class: b.class, dirty: b.oid == charOID}
		delim := byte(',')
		if b.name == "box" {
			delim = ';'
		}
		t.byOID[b.oid] = elem
		t.byOID[b.array] = &pgType{name: b.name + "[]", class: classArray, elem: elem, delim: delim}
	}
	return t
}

// noEncoding is the encoding of databases that do not care what their texts are.
const noEncoding = "SQL_ASCII"

// serve tells what database the types are of, before the first of its values.
func (t *types) serve(conn *pgconn.PgConn) {
	if t.dirty || conn.ParameterStatus("server_encoding") != noEncoding {
		return
	}
	t.dirty = true
	for _, typ := range t.byOID {
		typ.dirty = true
	}
}

// get returns the type, unknownType if load has not found it.
func (t *types) get(oid uint32) *pgType {
	if typ := t.byOID[oid]; typ != nil {
		return typ
	}
	t.log.warn(oid, fmt.Sprint(oid), "it is not in the catalog")
	return unknownType
}

// final says that the type is known and cannot change.
func (t *types) final(oid uint32) bool {
	typ := t.byOID[oid]
	for typ != nil && typ.class == classArray {
		typ = typ.elem
	}
	return typ != nil && typ.class != classComposite
}

// typeRow is a row of pg_type.
type typeRow struct {
	oid, base, elem, rel uint32
	name, plain          string // with and without schema
	kind, delim          string
	isArray, inExtension bool
}

// load asks the catalog for the types among oids that are not final, and for all that
// they are made of. Composites are asked for each time, since ALTER TYPE changes them.
func (t *types) load(ctx context.Context, c *pgx.Conn, oids []uint32) error {
	rows := map[uint32]typeRow{}
	attrs := map[uint32][]attribute{}
	for want := oids; len(want) > 0; {
		found, err := readTypes(ctx, c, want)
		if err != nil {
			return err
		}
		inner, err := readAttributes(ctx, c, found)
		if err != nil {
			return err
		}
		want = want[:0:0]
		next := func(oid uint32) {
			if _, seen := rows[oid]; oid != 0 && !seen && !t.final(oid) && !slices.Contains(want, oid) {
				want = append(want, oid)
			}
		}
		for _, r := range found {
			rows[r.oid] = r
		}
		for _, r := range found {
			next(r.base)
			next(r.elem)
			for _, a := range inner[r.rel] {
				next(a.typ)
			}
			attrs[r.rel] = inner[r.rel]
		}
	}
	for oid := range rows { // first, since types may contain each other
		if t.byOID[oid] == nil {
			t.byOID[oid] = &pgType{}
		}
	}
	for oid := range rows {
		*t.byOID[oid] = t.build(rows, attrs, oid)
	}
	return nil
}

func (t *types) build(rows map[uint32]typeRow, attrs map[uint32][]attribute, oid uint32) pgType {
	base := rows[oid]
	typ := pgType{name: base.name, dirty: t.dirty}
	for base.kind == "d" { // a domain of a domain of …
		next, ok := rows[base.base]
		if !ok {
			name := typ.name
			typ = *t.get(base.base)
			typ.name = name
			return typ
		}
		base = next
	}
	switch {
	case base.isArray:
		typ.class, typ.elem, typ.delim = classArray, t.get(base.elem), base.delim[0]
	case base.kind == "c":
		typ.class, typ.unfit = classComposite, &t.unfit
		for _, a := range attrs[base.rel] {
			typ.fields = append(typ.fields, field{a.name, t.get(a.typ)})
		}
	case base.kind == "b":
		c, known := extension[base.plain]
		if known && base.inExtension {
			typ.class = c
		} else {
			t.log.warn(base.oid, base.name, "it has no mapping of its own")
		}
	}
	return typ
}

func readTypes(ctx context.Context, c *pgx.Conn, oids []uint32) ([]typeRow, error) {
	rows, err := c.Query(ctx, `
select t.oid, t.typbasetype, case when e.typarray = t.oid then t.typelem else 0 end, t.typrelid,
       pg_catalog.format_type(t.oid, null), t.typname::text, t.typtype::text, t.typdelim::text, coalesce(e.typarray = t.oid, false),
       exists(select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')
from pg_catalog.pg_type t left join pg_catalog.pg_type e on e.oid = t.typelem
where t.oid = any($1::oid[])`, oids)
	if err != nil {
		return nil, fmt.Errorf("read types: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r typeRow, err error) {
		err = row.Scan(&r.oid, &r.base, &r.elem, &r.rel, &r.name, &r.plain, &r.kind, &r.delim, &r.isArray, &r.inExtension)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read types: %w", err)
	}
	return out, nil
}

type attribute struct {
	name string
	typ  uint32
}

func readAttributes(ctx context.Context, c *pgx.Conn, types []typeRow) (map[uint32][]attribute, error) {
	var rels []uint32
	for _, r := range types {
		if r.kind == "c" {
			rels = append(rels, r.rel)
		}
	}
	if len(rels) == 0 {
		return nil, nil
	}
	rows, err := c.Query(ctx, `
select attrelid, attname::text, atttypid from pg_catalog.pg_attribute
where attrelid = any($1::oid[]) and attnum > 0 and not attisdropped order by attrelid, attnum`, rels)
	if err != nil {
		return nil, fmt.Errorf("read composite types: %w", err)
	}
	out := map[uint32][]attribute{}
	var rel uint32
	var a attribute
	if _, err := pgx.ForEachRow(rows, []any{&rel, &a.name, &a.typ}, func() error {
		out[rel] = append(out[rel], a)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read composite types: %w", err)
	}
	return out, nil
}

// lookupTimeout bounds how long the reader of the log waits for the catalog.
const lookupTimeout = 2 * time.Second
