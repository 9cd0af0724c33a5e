package main

import "candela/cmd/app"

// smartFlags are the settings of --auth smart.
type smartFlags struct {
	Site     string   `help:"Name of the place, on the pages where people sign in." default:"Candela"`
	Launcher bool     `help:"Serve a page below /auth/launcher that starts apps as an EHR would; for testers."`
	Register bool     `help:"Let apps register themselves with an initial access token (RFC 7591)."`
	Frame    []string `help:"Origin whose pages may hold the sign-in in a frame. May be repeated." placeholder:"ORIGIN"`
	Brands   string   `help:"File with the user access brands, a FHIR Bundle." placeholder:"FILE" type:"path"`
	Provider string   `help:"File with the OpenID Connect provider at which staff sign in: JSON with name, issuer, clientId, clientSecret and roles." placeholder:"FILE" type:"path"`
	Egress   []string `help:"Host that may be called for the keys of apps and by the provider: host, host:port, *.suffix, or * for all that are public. May be repeated." default:"*" placeholder:"HOST"`
}

func (s smartFlags) smart() app.Smart {
	return app.Smart{Site: s.Site, Launcher: s.Launcher, Register: s.Register, Frames: s.Frame, Brands: s.Brands, Provider: s.Provider, Egress: s.Egress}
}
