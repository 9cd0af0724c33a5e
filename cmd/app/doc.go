// Package app wires every room into one running server and takes it apart
// again in reverse order.
//
// It knows configuration, addresses and the order of starting and stopping. It
// must not know FHIR semantics: those live in the rooms it wires.
package app

import "runtime/debug"

// Version is set by the release build.
var Version = ""

// VersionName is Version, or what the Go toolchain knows of the build.
func VersionName() string {
	if Version != "" {
		return Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
