// An in-memory OCI registry for the tests, with or without the referrers API.
package main

import (
	"flag"
	"log"
	"net/http"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:5000", "address to listen on")
	referrers := flag.Bool("referrers", false, "serve the referrers API")
	flag.Parse()
	log.Fatal(http.ListenAndServe(*addr, registry.New(registry.WithReferrersSupport(*referrers))))
}
