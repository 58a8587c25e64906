// An oracle for differential tests: it judges Sigstore bundles by sigstore-go, many in one process,
// and, with -expressions, looks for regular expressions as Go reads them.
//
// Reads one question a line, {"bundle","artifact","issuer","subject"} (the first two are paths),
// and writes one line for each: "good", or "bad: why".
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

type question struct {
	Bundle, Artifact, Issuer, Subject string
}

func main() {
	path := flag.String("trusted-root", "", "trusted root to believe")
	expressions := flag.Bool("expressions", false, "look for expressions in texts instead")
	flag.Parse()
	if *expressions {
		searchAll()
		return
	}
	trusted, err := root.NewTrustedRootFromPath(*path)
	if err != nil {
		log.Fatal(err)
	}
	// As cosign 3.1.3 asks: a promise of a certificate log, a log, a signed time.
	verifier, err := verify.NewVerifier(trusted, verify.WithSignedCertificateTimestamps(1),
		verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		if err := judge(verifier, asked); err != nil {
			fmt.Println("bad:", strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("good")
		}
	}
}

func judge(verifier *verify.Verifier, asked question) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
		}
	}()
	signed, err := bundle.LoadJSONFromPath(asked.Bundle)
	if err != nil {
		return err
	}
	artifact, err := os.Open(asked.Artifact)
	if err != nil {
		log.Fatal(err)
	}
	defer artifact.Close()
	identity, err := verify.NewShortCertificateIdentity(asked.Issuer, "", asked.Subject, "")
	if err != nil {
		log.Fatal(err)
	}
	policy := verify.NewPolicy(verify.WithArtifact(artifact), verify.WithCertificateIdentity(identity))
	_, err = verifier.Verify(signed, policy)
	return err
}
