package fhirpath

import "candela/fhir"

type value struct{}
type Buffer struct{}
type evaluator func()

func (i Item) Bool() (v, ok bool) { return false, false }
func (i Item) Text() string       { return i.Node.Text() }
func parse(s string) (int, error) { return 0, fhir.Errorf(400, fhir.CodeNotSupported, "not yet") }

type compiler struct {
	model      Model
	root, text string
}
type compiled struct{ run evaluator }

func (c *compiler) compile(int, []string) (compiled, error)                      { return compiled{}, nil }
func (c *compiler) rootTypes() []string                                          { return nil }
func (b *Buffer) eval(e *Expr, env *Env, dst []Item, focus Item) ([]Item, error) { return dst, nil }
