package engine

import "coracle/netns/egress"

// What --report and --dry-run write, by names that docs/json.md can be held to.
type (
	// ReportDocument is the file of --report.
	ReportDocument = report
	// FlowDocument is a line of --net-log.
	FlowDocument = egress.Entry
	// PlanDocument is what `run --dry-run --format json` prints.
	PlanDocument = plan
)
