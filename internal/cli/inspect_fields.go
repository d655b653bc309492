package cli

import (
	"reflect"
	"strings"
	"text/template/parse"
)

// checkFields refuses a template that names a field that documents of this kind do
// not have: what is merely not set prints nothing, so nobody would notice. It looks
// at names that begin at the document; what stands in range or with begins
// elsewhere, and keys of maps (labels) may be any.
func checkFields(nodes *parse.ListNode, doc any) error {
	if nodes == nil {
		return nil
	}
	for _, n := range nodes.Nodes {
		var err error
		switch n := n.(type) {
		case *parse.ActionNode:
			err = checkPipe(n.Pipe, doc)
		case *parse.IfNode:
			if err = checkPipe(n.Pipe, doc); err == nil {
				err = checkFields(n.List, doc)
			}
			if err == nil {
				err = checkFields(n.ElseList, doc)
			}
		case *parse.RangeNode:
			err = checkPipe(n.Pipe, doc)
		case *parse.WithNode:
			err = checkPipe(n.Pipe, doc)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkPipe(p *parse.PipeNode, doc any) error {
	for _, c := range p.Cmds {
		for _, arg := range c.Args {
			var err error
			switch n := arg.(type) {
			case *parse.PipeNode:
				err = checkPipe(n, doc)
			case *parse.FieldNode:
				err = checkPath(n.Ident, reflect.TypeOf(doc))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPath follows names through structures, as far as these say what there is.
func checkPath(names []string, t reflect.Type) error {
	for i, name := range names {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || t.Name() == "Time" {
			return nil
		}
		var known []string
		found := false
		for _, f := range reflect.VisibleFields(t) {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if key == "" {
				key = f.Name
			}
			if !f.IsExported() || f.Anonymous || key == "-" {
				continue
			}
			known = append(known, key)
			if key == name || name == idAlias && key == "Id" {
				t, found = f.Type, true
				break
			}
		}
		if !found {
			e := &usageError{msg: "inspect: --format: there is no field ." + strings.Join(names[:i+1], "."), hint: "coracle inspect without --format shows all"}
			if near := nearest(name, known); near != "" {
				e.hint = "did you mean ." + strings.Join(append(names[:i:i], near), ".") + "? " + e.hint
			}
			return e
		}
	}
	return nil
}

// idAlias is what podman calls Id, too.
const idAlias = "ID"
