package cli

import (
	"fmt"

	"coracle/internal/engine"
)

// healthFlags are the flags of a container's health check.
type healthFlags struct {
	Cmd           *string `name:"health-cmd" placeholder:"CMD" help:"Run this in the container to see whether it is well: a line for sh, a JSON array, or none."`
	Interval      string  `name:"health-interval" placeholder:"TIME" help:"How often (default: 30s; disable: only by hand)."`
	Timeout       string  `name:"health-timeout" placeholder:"TIME" help:"How long a check may take (default: 30s)."`
	Retries       string  `name:"health-retries" placeholder:"N" help:"So many failures in a row are unhealthy (default: 3)."`
	StartPeriod   string  `name:"health-start-period" placeholder:"TIME" help:"Failures do not count for this time (default: 0s)."`
	StartInterval string  `name:"health-start-interval" placeholder:"TIME" help:"How often during that (default: 5s)."`
	OnFailure     string  `name:"health-on-failure" placeholder:"ACTION" help:"What to do once it is unhealthy: none, kill, restart or stop."`
	None          bool    `name:"no-healthcheck" help:"No health check, not even the image's."`
}

func (f healthFlags) options() engine.HealthFlags {
	return engine.HealthFlags{
		Cmd: f.Cmd, Interval: f.Interval, Timeout: f.Timeout, Retries: f.Retries,
		StartPeriod: f.StartPeriod, StartInterval: f.StartInterval, OnFailure: f.OnFailure, Disabled: f.None,
	}
}

type healthcheckRunCmd struct {
	Container string `arg:"" name:"CONTAINER"`
}

func (*healthcheckRunCmd) Help() string {
	return `Runs the container's health check now. Prints "unhealthy" and ends with 1 when
it fails; its result counts like all others.

  coracle healthcheck run web`
}

func (c *healthcheckRunCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	h, err := e.CheckHealth(ctx, c.Container)
	if err != nil {
		return exitOurs, err
	}
	if n := len(h.Log); n > 0 && h.Log[n-1].ExitCode != 0 {
		fmt.Fprintln(a.out, "unhealthy")
		return 1, nil
	}
	return 0, nil
}
