// Package clients holds the proof that clients which others wrote work with this
// server: the SMART JavaScript client in a browser, and backend services in Node.js
// and Python. It knows which versions of them are tried and how they are driven. It
// must not know how the server does what they ask for.
//
// The tests are built with the tag "clients" (make clients), because they need
// Chromium, npm and Python's venv, and take the clients from the registries into the
// user's cache folder. CANDELA_SHOTS=FOLDER keeps pictures of the pages.
package clients
