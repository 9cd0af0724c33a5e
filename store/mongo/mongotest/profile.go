package mongotest

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Profile has the database of uri keep every command that it is sent from now on.
// The function it gives tells all names of fields in them so far, as they arrived.
func Profile(t testing.TB, uri string) func() (names map[string]bool) {
	t.Helper()
	ctx := context.Background()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(ctx) })
	at, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	db := client.Database(strings.Trim(at.Path, "/"))
	if err := db.CreateCollection(ctx, "system.profile", options.CreateCollection().SetCapped(true).SetSizeInBytes(256<<20)); err != nil {
		t.Fatal(err)
	}
	if err := db.RunCommand(ctx, bson.D{{Key: "profile", Value: 2}}).Err(); err != nil {
		t.Fatal(err)
	}
	return func() map[string]bool {
		t.Helper()
		return commands(t, db)
	}
}

// commands are the names within all commands that were kept.
func commands(t testing.TB, db *mongo.Database) map[string]bool {
	t.Helper()
	ctx, names := context.Background(), map[string]bool{}
	found, err := db.Collection("system.profile").Find(ctx, bson.D{{Key: "ns", Value: bson.D{{Key: "$not", Value: bson.Regex{Pattern: `system\.profile$`}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for found.Next(ctx) {
		command, ok := found.Current.Lookup("command").DocumentOK()
		if !ok || found.Current.Lookup("command", "$truncated").Type != 0 {
			t.Errorf("a command was not kept whole: %.300s", found.Current)
		}
		namesOf(command, names)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// namesOf adds all names within a document.
func namesOf(doc bson.Raw, names map[string]bool) {
	elements, _ := doc.Elements() // the driver has read it
	for _, e := range elements {
		names[e.Key()] = true
		if inner, ok := e.Value().DocumentOK(); ok {
			namesOf(inner, names)
		}
		if list, ok := e.Value().ArrayOK(); ok {
			namesOf(bson.Raw(list), names)
		}
	}
}
