package app

import (
	"net/http"

	"candela/smart/authorize"
)

// Handler is what the server answers with, for those who measure it without a
// network between.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// CheckTransport is checkTransport.
func CheckTransport(c Config) error { return c.checkTransport() }

// DirectoryOf finds what users choose from.
func DirectoryOf(s *Server) authorize.Directory { return s.smart.Directory }
