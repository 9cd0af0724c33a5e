package analytics_test

import (
	"strings"
	"testing"

	"candela/analytics"
)

type marshaled string

func (m marshaled) MarshalJSON() ([]byte, error) { return []byte(m), nil }

func TestBuiltResourcesBeginWithTheirType(t *testing.T) {
	for raw, want := range map[string]string{
		`{"id":"1","a":[{"b":1}],"resourceType":"Group"}`:                        `{"resourceType":"Group","id":"1","a":[{"b":1}]}`,
		`{"resourceType":"Group","id":"1"}`:                                      `{"resourceType":"Group","id":"1"}`,
		`{"contained":[{"id":"1","resourceType":"Patient"}],"resourceType":"X"}`: `{"resourceType":"X","contained":[{"id":"1","resourceType":"Patient"}]}`,
	} {
		got, err := analytics.Build(marshaled(raw))
		if err != nil || !strings.HasPrefix(string(got.Raw()), want) || len(got.Raw()) != len(want) {
			t.Errorf("%s became %s (%v)", raw, got.Raw(), err)
		}
	}
}
