// Package bulk moves many resources at once: it reads bundles and NDJSON from
// files and sends them through a Doer, in parallel, resumable, with an account
// of what was refused and why.
//
// It knows file formats, Bundles and the door. It must not know any store, any
// resource type's meaning or how the server answers a write.
package bulk
