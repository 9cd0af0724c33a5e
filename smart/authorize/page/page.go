// Package page draws the pages that people see while they sign in, choose a
// record, agree to what an app may do, and end it. It knows templates, the
// stylesheet and how a scope is said in words. It must not know requests,
// sessions, stores or who may see what.
//
// The pages work without JavaScript and hold none.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"strings"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed page.css
var stylesheet []byte

// Pages are all pages, ready to be drawn. It is safe for use by many goroutines.
type Pages struct {
	site  string
	style string // URL path of the stylesheet
	sheet map[string]*template.Template
}

// New reads the templates. site is the name of the place as people know it; root
// is the URL path that the pages lie below, without a slash at its end.
func New(site, root string) (*Pages, error) {
	sum := sha256.Sum256(stylesheet)
	p := &Pages{site: site, style: root + "/page-" + hex.EncodeToString(sum[:8]) + ".css", sheet: map[string]*template.Template{}}
	frame, err := template.ParseFS(templates, "templates/frame.html")
	if err != nil {
		return nil, fmt.Errorf("smart/authorize/page: %w", err)
	}
	names, err := fs.Glob(templates, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("smart/authorize/page: %w", err)
	}
	for _, name := range names {
		one, err := frame.Clone()
		if err == nil {
			one, err = one.ParseFS(templates, name)
		}
		if err != nil {
			return nil, fmt.Errorf("smart/authorize/page: %w", err)
		}
		p.sheet[strings.TrimSuffix(strings.TrimPrefix(name, "templates/"), ".html")] = one
	}
	return p, nil
}

// Stylesheet is the URL path of the stylesheet, another for every other content,
// and the content.
func (p *Pages) Stylesheet() (path string, css []byte) { return p.style, stylesheet }

// View is the content of a page: one of the types of this package that have a
// template.
type View interface {
	template() string
	title() string
}

// Draw gives a page as HTML.
func (p *Pages) Draw(v View) ([]byte, error) {
	sheet, ok := p.sheet[v.template()]
	if !ok {
		return nil, fmt.Errorf("smart/authorize/page: no template %q", v.template())
	}
	var out bytes.Buffer
	err := sheet.ExecuteTemplate(&out, "frame", struct {
		Site, Style, Title string
		View               View
	}{p.site, p.style, v.title(), v})
	if err != nil {
		return nil, fmt.Errorf("smart/authorize/page: draw %s: %w", v.template(), err)
	}
	return out.Bytes(), nil
}
