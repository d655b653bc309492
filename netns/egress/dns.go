package egress

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"coracle/netns"

	"golang.org/x/net/dns/dnsmessage"
)

// Questions about names. With rules, one that comes from the container is read, and
// one of our own goes out in its place: nothing that the container chose but the
// name, and this only where a rule allows it. The answer is ours, too: addresses,
// without the records on the way to them and without anything else. So neither the
// bits of a question nor a TXT record carry messages, and no HTTPS record (type 65)
// has the keys of an encrypted ClientHello.

const (
	maxTTL    = 3600 // seconds, that the container is told
	maxAlias  = 16   // CNAMEs in one answer
	udpAnswer = 1232 // bytes that go everywhere without fragments (DNS flag day 2020)
)

// Codes of extended errors (RFC 8914).
const (
	edeBlocked  = 15
	edeFiltered = 17
	optEDE      = 15
)

var errNoQuestion = errors.New("it is no question about one name")

// question is what the container wants to know.
type question struct {
	id    uint16
	flags dnsmessage.Header
	q     dnsmessage.Question
	name  string // "" where it is no host's
	edns  bool
}

// parseQuestion reads a question.
func parseQuestion(query []byte) (question, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return question{}, errNoQuestion
	}
	all, err := p.AllQuestions()
	if err != nil || len(all) != 1 {
		return question{}, errNoQuestion
	}
	q := question{id: h.ID, flags: h, q: all[0], name: cleanName(all[0].Name.String())}
	if p.SkipAllAnswers() == nil && p.SkipAllAuthorities() == nil {
		for {
			r, err := p.AdditionalHeader()
			if err != nil {
				break
			}
			q.edns = q.edns || r.Type == dnsmessage.TypeOPT
			if p.SkipAdditional() != nil {
				break
			}
		}
	}
	return q, nil
}

// answer composes an answer.
func (q question) answer(code dnsmessage.RCode, ede uint16, ttl uint32, addrs []netip.Addr) []byte {
	h := dnsmessage.Header{ID: q.id, Response: true, OpCode: q.flags.OpCode, RecursionDesired: q.flags.RecursionDesired, RecursionAvailable: true, RCode: code}
	b := dnsmessage.NewBuilder(nil, h)
	b.EnableCompression()
	err := errors.Join(b.StartQuestions(), b.Question(q.q), b.StartAnswers())
	head := dnsmessage.ResourceHeader{Name: q.q.Name, Class: dnsmessage.ClassINET, TTL: ttl}
	for _, a := range addrs {
		if a.Is4() {
			err = errors.Join(err, b.AResource(head, dnsmessage.AResource{A: a.As4()}))
		} else {
			err = errors.Join(err, b.AAAAResource(head, dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
	}
	if q.edns {
		err = errors.Join(err, b.StartAdditionals(), addOPT(&b, ede))
	}
	msg, ferr := b.Finish()
	if err != nil || ferr != nil {
		return nil
	}
	return msg
}

func addOPT(b *dnsmessage.Builder, ede uint16) error {
	var h dnsmessage.ResourceHeader
	if err := h.SetEDNS0(udpAnswer, dnsmessage.RCodeSuccess, false); err != nil {
		return err
	}
	var opt dnsmessage.OPTResource
	if ede != 0 {
		opt.Options = []dnsmessage.Option{{Code: optEDE, Data: binary.BigEndian.AppendUint16(nil, ede)}}
	}
	return b.OPTResource(h, opt)
}

// formatError is the answer to what cannot be read; nil to what is no question at all.
func formatError(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, RCode: dnsmessage.RCodeFormatError})
	msg, err := b.Finish()
	if err != nil {
		return nil
	}
	return msg
}

// fresh is the question that goes out: the name in lower case and the type.
func fresh(name string, kind dnsmessage.Type, id uint16) ([]byte, error) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, err
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	err = errors.Join(b.StartQuestions(), b.Question(dnsmessage.Question{Name: n, Type: kind, Class: dnsmessage.ClassINET}),
		b.StartAdditionals(), addOPT(&b, 0))
	msg, ferr := b.Finish()
	return msg, errors.Join(err, ferr)
}

// addresses are what an answer gives a name, by way of its aliases.
type addresses struct {
	code      dnsmessage.RCode
	truncated bool
	ttl       uint32
	addrs     []netip.Addr
}

// parseAnswer reads an answer to fresh's question.
func parseAnswer(msg []byte, name string, kind dnsmessage.Type) (addresses, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return addresses{}, err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return addresses{}, err
	}
	out := addresses{code: h.RCode, truncated: h.Truncated, ttl: maxTTL}
	if h.Truncated {
		return out, nil
	}
	records, err := p.AllAnswers()
	if err != nil {
		return addresses{}, err
	}
	for range maxAlias {
		next := ""
		for _, r := range records {
			if lower(r.Header.Name) != name || r.Header.Class != dnsmessage.ClassINET {
				continue
			}
			switch body := r.Body.(type) {
			case *dnsmessage.CNAMEResource:
				next = lower(body.CNAME)
			case *dnsmessage.AResource:
				out.add(kind == dnsmessage.TypeA, netip.AddrFrom4(body.A), r.Header.TTL)
				continue
			case *dnsmessage.AAAAResource:
				out.add(kind == dnsmessage.TypeAAAA, netip.AddrFrom16(body.AAAA), r.Header.TTL)
				continue
			default:
				continue
			}
			out.ttl = min(out.ttl, r.Header.TTL)
		}
		if len(out.addrs) > 0 || next == "" {
			break
		}
		name = next
	}
	return out, nil
}

func (a *addresses) add(wanted bool, addr netip.Addr, ttl uint32) {
	if wanted && !slices.Contains(a.addrs, addr) {
		a.addrs, a.ttl = append(a.addrs, addr), min(a.ttl, ttl)
	}
}

func lower(n dnsmessage.Name) string { return strings.ToLower(strings.TrimSuffix(n.String(), ".")) }

// Answer implements netns.Gate.
func (g *Gate) Answer(ctx context.Context, query []byte, stream bool, ask netns.Ask) []byte {
	q, err := parseQuestion(query)
	if err != nil {
		if !g.enforces() {
			return ask(ctx, query, stream)
		}
		return formatError(query)
	}
	if !g.enforces() {
		msg := ask(ctx, query, stream)
		g.learn(q, msg)
		return msg
	}
	if slices.Contains(netns.HostNames, q.name) {
		return ask(ctx, query, stream) // what it is told is the gateway's address
	}
	if q.q.Type == dnsmessage.TypePTR {
		return q.answer(dnsmessage.RCodeNameError, edeFiltered, 0, nil)
	}
	by, ok := g.current().asks(q.name)
	if q.name == "" || !ok {
		g.refusedName(q, by)
		return q.answer(dnsmessage.RCodeNameError, edeBlocked, 0, nil)
	}
	if q.q.Class != dnsmessage.ClassINET || q.flags.OpCode != 0 {
		return q.answer(dnsmessage.RCodeNotImplemented, 0, 0, nil)
	}
	if q.q.Type != dnsmessage.TypeA && q.q.Type != dnsmessage.TypeAAAA {
		return q.answer(dnsmessage.RCodeSuccess, edeFiltered, 0, nil)
	}
	return g.resolve(ctx, q, by, stream, ask)
}

// resolve asks, ties the addresses to the name, and composes the answer.
func (g *Gate) resolve(ctx context.Context, q question, by *Rule, stream bool, ask netns.Ask) []byte {
	got, err := upstream(ctx, q, ask)
	if err != nil {
		return q.answer(dnsmessage.RCodeServerFailure, 0, 0, nil)
	}
	if got.code != dnsmessage.RCodeSuccess {
		if got.code != dnsmessage.RCodeNameError {
			got.code = dnsmessage.RCodeServerFailure
		}
		return q.answer(got.code, 0, 0, nil)
	}
	kept := got.addrs[:0]
	var refused []netip.Addr
	for _, a := range got.addrs {
		if a.Is4In6() || !g.mayBe(a) {
			refused = append(refused, a)
			continue
		}
		kept = append(kept, a)
		g.names.bind(q.name, a, time.Duration(got.ttl)*time.Second)
	}
	ede := uint16(0)
	if len(refused) > 0 {
		ede = edeFiltered
		g.rebound(q.name, refused, by)
	}
	msg := q.answer(dnsmessage.RCodeSuccess, ede, got.ttl, kept)
	for !stream && len(msg) > udpAnswer && len(kept) > 1 {
		kept = kept[:len(kept)/2] // a few of many addresses serve as well
		msg = q.answer(dnsmessage.RCodeSuccess, ede, got.ttl, kept)
	}
	return msg
}

// upstream asks; what does not fit into a packet is asked for once more.
func upstream(ctx context.Context, q question, ask netns.Ask) (addresses, error) {
	msg, err := fresh(q.name, q.q.Type, newID())
	if err != nil {
		return addresses{}, err
	}
	var got addresses
	for _, stream := range []bool{false, true} {
		answer := ask(ctx, msg, stream)
		if answer == nil {
			return got, errors.New("no answer came")
		}
		if got, err = parseAnswer(answer, q.name, q.q.Type); err != nil || !got.truncated {
			return got, err
		}
	}
	return got, errors.New("its answer is cut off")
}

// mayBe says whether a name's address can be one that the container may have: it is
// a public one, or in a special network that a rule opens.
func (g *Gate) mayBe(a netip.Addr) bool {
	if netns.Refused(a) != "" || g.isOwn(a) || g.isHost(a) {
		return false
	}
	s, special := g.current(), g.host.special(a)
	if find(s.deny, func(r *Rule) bool { return r.all() && r.hasAddr(a, special) }) != nil {
		return false
	}
	if !special.IsValid() || !s.listed() {
		return true
	}
	return find(s.allow, func(r *Rule) bool { return r.kind == byAddress && r.hasAddr(a, special) }) != nil
}

// learn ties addresses to names where there are no rules: the report has them then.
func (g *Gate) learn(q question, msg []byte) {
	if msg == nil || q.name == "" || q.q.Type != dnsmessage.TypeA && q.q.Type != dnsmessage.TypeAAAA {
		return
	}
	got, err := parseAnswer(msg, q.name, q.q.Type)
	if err != nil {
		return
	}
	for _, a := range got.addrs {
		g.names.bind(q.name, a, time.Duration(got.ttl)*time.Second)
	}
}
