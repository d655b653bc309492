package engine

// What --report and --dry-run write, by names that docs/json.md can be held to.
type (
	// ReportDocument is the file of --report.
	ReportDocument = report
	// PlanDocument is what `run --dry-run --format json` prints.
	PlanDocument = plan
)
