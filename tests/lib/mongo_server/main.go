// mongo_server: FerretDB embedded, for tests: MongoDB's protocol at an address, documents in SQLite files.
package main

import (
	"context"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// plain drops the attributes of messages. FerretDB attaches each statement's arguments, for levels that nobody
// asked for, and the default handler formats them at once: a third of its time while documents are inserted.
type plain struct{ slog.Handler }

func (p plain) WithAttrs([]slog.Attr) slog.Handler { return p }
func (p plain) WithGroup(string) slog.Handler      { return p }

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: mongo_server HOST:PORT DIRECTORY")
	}
	debug.SetGCPercent(400) // some 100 MB for a fifth less work
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: os.Args[1]},
		Logger:    slog.New(plain{slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})}),
		Handler:   "sqlite",
		SQLiteURL: "file:" + os.Args[2] + "/",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := server.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
