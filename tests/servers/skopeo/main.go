// `skopeo copy` of an image from a registry without TLS into a folder, if policy.json lets it.
//
// Debian's own skopeo has sigstore signatures compiled out, and skopeo's module is not on the Go
// proxy; this is the library that skopeo, podman and CRI-O copy and judge with.
package main

import (
	"context"
	"flag"
	"log"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/transports/alltransports"
	"github.com/containers/image/v5/types"
)

func main() {
	log.SetFlags(0)
	policy := flag.String("policy", "/etc/containers/policy.json", "policy file")
	registries := flag.String("registries.d", "/etc/containers/registries.d", "where signatures are")
	flag.Parse()
	if flag.NArg() != 2 {
		log.Fatal("usage: skopeo --policy FILE --registries.d DIR docker://SOURCE dir:TARGET")
	}
	if err := run(*policy, *registries, flag.Arg(0), flag.Arg(1)); err != nil {
		log.Fatal(err)
	}
}

func run(policyFile, registries, from, to string) error {
	policy, err := signature.NewPolicyFromFile(policyFile)
	if err != nil {
		return err
	}
	policyContext, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	source, err := alltransports.ParseImageName(from)
	if err != nil {
		return err
	}
	target, err := alltransports.ParseImageName(to)
	if err != nil {
		return err
	}
	system := &types.SystemContext{
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		RegistriesDirPath:           registries,
	}
	_, err = copy.Image(context.Background(), policyContext, target, source,
		&copy.Options{SourceCtx: system, DestinationCtx: system})
	return err
}
