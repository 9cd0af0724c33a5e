package plan

import (
	"time"

	"candela/store"
)

func derive(typ string, entries []store.Entry, updated time.Time) Keys {
	return Keys{}
}
