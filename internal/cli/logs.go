package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/charmbracelet/log"
	"github.com/muesli/termenv"
)

// logs is where --debug, --log and --log-format go. Without any of them
// nothing is built.
type logs struct {
	logger *log.Logger
	file   *os.File
}

func (l *logs) open(g globals, stderr io.Writer) error {
	if g.Log == "" && !g.Debug {
		return nil
	}
	out := stderr
	if g.Log != "" {
		f, err := os.OpenFile(g.Log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("open the log: %w", err)
		}
		l.file, out = f, f
	}
	opts := log.Options{ReportTimestamp: l.file != nil, TimeFormat: time.RFC3339Nano, Level: log.InfoLevel}
	if g.Debug {
		opts.Level = log.DebugLevel
	}
	if g.LogFormat == "json" {
		opts.Formatter = log.JSONFormatter
	}
	// A terminal is not shown as one: the library would ask it for its colours,
	// and wait five seconds for each answer that does not come.
	l.logger = log.NewWithOptions(struct{ io.Writer }{out}, opts)
	l.logger.SetColorProfile(termenv.Ascii)
	if f, ok := out.(*os.File); ok && mayColour(f) {
		l.logger.SetColorProfile(termenv.ANSI)
	}
	return nil
}

func (l *logs) toFile() bool { return l.file != nil }

func (l *logs) error(msg string) { l.print(log.ErrorLevel, msg) }
func (l *logs) warn(msg string)  { l.print(log.WarnLevel, msg) }

func (l *logs) debug(msg string, pairs ...any) { l.print(log.DebugLevel, msg, pairs...) }

func (l *logs) print(level log.Level, msg string, pairs ...any) {
	if l.logger == nil {
		return
	}
	for i, p := range pairs {
		if s, ok := p.(string); ok {
			pairs[i] = visible(s)
		}
	}
	l.logger.Log(level, visible(msg), pairs...)
}

func (l *logs) close() {
	if l.file != nil {
		_ = l.file.Close()
	}
}
