package store

import "time"

// The parameters that every resource has without writing them.
const (
	ParamID      = "_id"          // a Code: Space is the type, Name the id
	ParamUpdated = "_lastUpdated" // a Range: the version's time as a point
)

// Builtin is the entries that every resource has: what backends and Holds see
// beside the written ones.
func Builtin(k Key, updated time.Time) []Entry {
	t := OrderedTime(updated)
	return []Entry{
		{Param: ParamID, Value: Value{Kind: Code, Space: k.Type, Name: k.ID}},
		{Param: ParamUpdated, Value: Value{Kind: Range, Lo: t, Hi: t}},
	}
}
