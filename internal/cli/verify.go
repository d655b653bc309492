package cli

import (
	"fmt"

	"coracle/images"
)

type verifyCmd struct {
	accessFlags `embed:""`
	Key         []string `placeholder:"FILE" help:"A public key in PEM; one of several is enough."`

	Image string `arg:"" name:"IMAGE"`
}

func (*verifyCmd) Help() string {
	return `Looks for signatures as cosign makes them, under its tag or among the referrers,
and prints the digest of what was signed. Names and digests in them must be the
image's; sigstore bundles, which cosign 3 makes, have no name. Where the
registry cannot be asked, nothing is verified.

  coracle verify --key cosign.pub registry.example.org/team/app:1`
}

func (c *verifyCmd) run(a *app) (int, error) {
	access, err := c.access()
	if err != nil {
		return exitOurs, err
	}
	if len(c.Key) == 0 {
		return exitOurs, &usageError{msg: "verify: --key FILE is needed", hint: "cosign public-key prints the public key of a pair"}
	}
	var keys []images.Key
	for _, path := range c.Key {
		k, err := images.ReadKey(path)
		if err != nil {
			return exitOurs, err
		}
		keys = append(keys, k)
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	d, _, err := e.Verify(ctx, c.Image, keys, access)
	if err != nil {
		return exitOurs, err
	}
	fmt.Fprintln(a.out, d)
	return 0, nil
}
