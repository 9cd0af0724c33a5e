package app

import "net/http"

// Handler is what the server answers with, for those who measure it without a
// network between.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// CheckTransport is checkTransport.
func CheckTransport(c Config) error { return c.checkTransport() }
