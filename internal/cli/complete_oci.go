package cli

import "coracle/internal/oci"

// ociCommand completes the OCI runtime's command line.
func (c *completer) ociCommand(words []string) {
	a := c.app
	a.oci = &oci.Globals{}
	globals := fieldsOf(a.oci)
	s := scanWords(globals, words, true)
	c.seen = s
	switch {
	case s.wants != nil:
		c.value(*s.wants, c.current)
		return
	case len(s.args) == 0 && len(c.current) > 0 && c.current[0] == '-':
		c.flag(globals, s)
		return
	case len(s.args) == 0:
		for _, e := range ociCommands() {
			c.reply(item{e.name, e.summary})
		}
		return
	}
	for _, e := range ociCommands() {
		if e.name == s.args[0] {
			c.fields(e, withGlobals(fieldsOf(e.make()), globals), s.args[1:])
		}
	}
}
